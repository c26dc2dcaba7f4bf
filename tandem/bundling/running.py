"""Running this machine's own programs for a bundle: what they say when they fail, and how far they are."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tandem.bundling.errors import BundleError

Say = Callable[[str], None]
TELL_EVERY_SECONDS = 5.0
LAST_LINES = 12
LEASHED = ("setpriv", "--pdeathsig=KILL")
"""Ends with this program, however that ends: nothing writes to the bundle behind the next run's back."""


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Standard output; BundleError with the last lines when it fails."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise failed(command, done.stderr or done.stdout)
    return done.stdout


def run_watched(
    command: Sequence[str], folder: Path, wanted_bytes: int, say: Say, *, env: Mapping[str, str] | None = None
) -> None:
    """Runs what fills ``folder``, and says every few seconds how much of ``wanted_bytes`` has come."""
    log = folder / ".output"
    began, before = time.monotonic(), size_of(folder)
    with log.open("w+") as output:
        process = subprocess.Popen(
            [*LEASHED, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        try:
            while True:
                try:
                    status = process.wait(TELL_EVERY_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say(_progress(size_of(folder) - before, wanted_bytes, time.monotonic() - began))
        except BaseException:
            process.terminate()
            process.wait()
            raise
        output.seek(0)
        said = output.read()
    log.unlink()
    if status:
        raise failed(command, said)


def failed(command: Sequence[str], said: str) -> BundleError:
    lines = "\n".join(f"  {line}" for line in said.strip().splitlines()[-LAST_LINES:])
    return BundleError(
        f"{command[0]} failed:\n{lines}\nwhat came whole is kept: mend the cause and run the same command again"
    )


def size_of(folder: Path) -> int:
    """Bytes of every file below ``folder``."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:  # renamed meanwhile
            continue
    return total


def size_text(size_bytes: int) -> str:
    """ "318 MiB" or "12.8 GiB"."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"


def _progress(come_bytes: int, wanted_bytes: int, seconds: float) -> str:
    share = min(come_bytes / wanted_bytes, 1) if wanted_bytes else 1
    speed = come_bytes / 2**20 / seconds
    return f"  {share:4.0%} of {size_text(wanted_bytes)}, {speed:.1f} MiB/s"
