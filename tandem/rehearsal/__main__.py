"""`make rehearse`: from nothing to a served chat on a rehearsal host. Also save, start-from, clean: see --help."""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tandem.rehearsal import access, apt, base, host, images, model
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.shell import RehearsalError

PROJECT = STATE.parent
HOST = "gpu1"
HEARTBEAT_SECONDS = 15


class Steps:
    """Counted, timed step lines. A step that takes long says so every few seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.number, self.began = total, 0, time.monotonic()
        self.lock = threading.Lock()

    def run(self, title: str, action: Callable[[Callable[[str], None]], object], pulse: bool = True) -> None:
        """Runs one step; it may be called from several threads. ``pulse=False``: the step speaks for itself."""
        with self.lock:
            self.number += 1
            label = f"[{self.number}/{self.total}] {title}"
        began, last = time.monotonic(), [""]

        def report(sentence: str) -> None:
            last[0] = sentence
            self._print(f"{label}: {sentence}")

        self._print(f"{label} ...")
        done = threading.Event()
        if pulse:
            threading.Thread(target=self._pulse, args=(label, began, last, done), daemon=True).start()
        try:
            action(report)
        finally:
            done.set()
        self._print(f"{label}: done in {time.monotonic() - began:.1f} s")

    def _pulse(self, label: str, began: float, last: list[str], done: threading.Event) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            self._print(f"{label}: {last[0] or 'working'} ({time.monotonic() - began:.0f} s so far)")

    def _print(self, line: str) -> None:
        with self.lock:
            print(f"{time.monotonic() - self.began:6.1f} s  {line}", flush=True)


def rehearse() -> None:
    """Builds what is missing, boots gpu1, installs, asks one question through https://."""
    steps = Steps(7)
    STATE.mkdir(exist_ok=True)

    with ThreadPoolExecutor(3) as pool:
        root = pool.submit(steps.run, "root file system of the rehearsal host", lambda say: base.build(STATE, say))
        built = pool.submit(
            steps.run, "images of vLLM, Open WebUI and the engine with knobs", lambda say: images.build(STATE, say)
        )
        packages = pool.submit(steps.run, "repository with the driver's packages", lambda say: apt.build(STATE, say))
        root.result()
        packages.result()
        built.result()
    steps.run("tiny gpt_oss model, right and wrong", lambda say: model.build(STATE, say))
    steps.run(f"rehearsal host {HOST}", lambda say: _boot(say))
    steps.run("pyinfra inventories/rehearsal.py deploys/install.py", lambda _say: install(HOST), pulse=False)
    steps.run("one streamed answer through https://", lambda say: access.grant(STATE, HOST, say))
    print(access.farewell(STATE))


def _boot(report: Callable[[str], None]) -> None:
    host.create(STATE, HOST, report)
    booted = host.boot(STATE, HOST)
    access.hand_over(STATE, HOST)
    report(f"{HOST} answers SSH at {booted.address}")


def install(name: str) -> None:
    """Raises RehearsalError when install fails; its own output has said why."""
    pyinfra = [str(Path(sys.executable).with_name("pyinfra")), "-y", "inventories/rehearsal.py", "deploys/install.py"]
    done = subprocess.run([*pyinfra, "--limit", name], cwd=PROJECT, check=False)
    if done.returncode:
        raise RehearsalError(f"install exited {done.returncode}; the summary above says why and what to do")


def clean() -> None:
    """Ends the hosts and removes all that the rehearsal made."""
    host.clean(STATE)
    images.clean(STATE)
    if STATE.is_dir():
        shutil.rmtree(STATE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tandem.rehearsal", description=__doc__)
    parser.add_argument("verb", choices=("rehearse", "clean"))
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("error: booting a machine takes root; `make` asks for it with sudo", file=sys.stderr)
        return 1
    try:
        {"rehearse": rehearse, "clean": clean}[given.verb]()
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
