"""Runs on the host as root, standard library only: installs Debian packages and says how far it is.

Input: one JSON argument {"names": [packages], "timeout_seconds": for a silent mirror, "options": [apt settings as
NAME=VALUE]}.
Waits for another apt, keeps configuration files that were changed by hand, never asks. Where apt fails, its last lines
are printed and the exit status is 1; what it did stays, and a second run goes on.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import deque

from tandem.hostside.apt_settings import LISTS_SECONDS, LOCKED_SECONDS, apt_words, lists_are_locked

LAST_LINES = 25
TELL_EVERY = 10  # packages
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}


def apt_get(timeout_seconds: int, options: list[str], *words: str) -> list[str]:
    return ["apt-get", *apt_words(timeout_seconds, options), *words]


def tell(line: str) -> None:
    """An operator who is gone must not end apt halfway: nobody listening is no error."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def run(command: list[str]) -> tuple[int, str]:
    """Says how many packages are set up, of how many. Answers the exit status and apt's last lines."""
    began, last, wanted, done = time.monotonic(), deque[str](maxlen=LAST_LINES), 0, 0
    process = subprocess.Popen(
        command,
        env={**os.environ, **QUIET},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout or ():
        last.append(line.rstrip())
        if found := re.search(r"(\d+) newly installed", line):
            wanted = int(found.group(1))
        elif found := re.match(r"Setting up ([^ :]+)", line):
            done += 1
            if done % TELL_EVERY == 0 or done == wanted:
                tell(f"{done} of {wanted} packages set up after {time.monotonic() - began:.0f} s")
    return process.wait(), "\n".join(last)


def refresh(update: list[str]) -> tuple[int, str]:
    """Waits for another apt that refreshes the lists."""
    until = time.monotonic() + LISTS_SECONDS
    while True:
        status, said = run(update)
        if status == 0 or not lists_are_locked(said) or time.monotonic() > until:
            return status, said
        tell("another apt refreshes the package lists: waiting for it")
        time.sleep(LOCKED_SECONDS)


def main() -> None:
    job = json.loads(sys.argv[1])
    limit_seconds, options = job["timeout_seconds"], job["options"]
    install = apt_get(limit_seconds, options, "install", "-y", "--no-install-recommends", *job["names"])
    tell("refreshing the package lists")
    status, said = refresh(apt_get(limit_seconds, options, "update"))
    if status == 0:
        status, said = run(install)
    if status and "dpkg --configure -a" in said:
        tell("finishing what an interrupted dpkg left behind")
        run(["dpkg", "--configure", "-a"])
        status, said = run(install)
    if status:
        next_step = "no service was started or stopped: mend the cause, then run the same command again"
        sys.exit(f"{said}\napt-get failed; {next_step}")


if __name__ == "__main__":
    main()
