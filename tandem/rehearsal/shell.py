"""Running the build machine's own programs for the rehearsal, and looking at its processes."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


class RehearsalError(Exception):
    """The rehearsal cannot go on; the message says what failed and what to do."""


def run(argv: Sequence[str], *, check: bool = True, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """Standard output of `argv`; a failure raises RehearsalError with its last lines, unless `check` is off."""
    environment = {**os.environ, **env} if env else None
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise RehearsalError(f"{argv[0]} is not installed here: install the Debian package that has it") from None
    if check and done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise RehearsalError(f"`{' '.join(argv)}` exited {done.returncode}:\n{said}")
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, interval_seconds: float = 0.05) -> bool:
    """True as soon as `condition` holds, False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_seconds)
    return True


@contextlib.contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """One program at a time; the others wait. The kernel ends the lock of a program that died."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove_tree(path: Path) -> None:
    """Removes a folder and what is in it, never what is mounted in it."""
    run(["rm", "-rf", "--one-file-system", "--", str(path)])


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def processes(matches: Callable[[list[str]], bool]) -> list[int]:
    """Processes whose command line matches. With no pid file there is no recycled pid to hit."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if matches(arguments_of(pid))]


def rooted_in(root: Path) -> list[int]:
    """Processes that have `root` as their root folder: what runs in a machine, without its containers."""
    try:
        wanted = root.stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        # A process that has just ended, or a thread of the kernel, has none.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.path.samestat((entry / "root").stat(), wanted):
                found.append(int(entry.name))
    return found


def send(pid: int, number: signal.Signals, still_is: Callable[[int], bool]) -> None:
    """Signals a process after pinning it, only if it still is the one that was meant."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if still_is(pid):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
