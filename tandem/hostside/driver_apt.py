"""apt and dpkg as the driver's installer uses them. Standard library only."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tandem.hostside.apt_settings import LISTS_SECONDS, LOCKED_SECONDS, apt_words, lists_are_locked

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
INSTALL = ("--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages")
LAST_LINES = 25
TELL_EVERY_SECONDS = 15


class AptFailed(Exception):
    """The message is apt's last lines."""


def tell(line: str) -> None:
    """An operator who is gone must not end an installation halfway: nobody listening is no error."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def stop(*sentences: str) -> NoReturn:
    """Ends the program with exit status 1."""
    for sentence in sentences:
        tell(sentence)
    sys.exit(1)


def ask(*command: str) -> str:
    """What a command prints on standard output, in English, whatever its exit status is."""
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False)
    return done.stdout


class Apt:
    """apt-get with options that hold for all of its commands. ``options``: further ones (a bundle's own sources)."""

    def __init__(self, timeout_seconds: int, options: Sequence[str] = ()) -> None:
        # Everything is downloaded by root: a folder of its own need not be open to others.
        self.options = apt_words(timeout_seconds, ("APT::Sandbox::User=root", *options))

    def get(self, *words: str, folder: str = "/", said: str = "") -> list[str]:
        """Runs apt-get, says every few seconds that it still does; answers its lines. Raises AptFailed."""
        lines: list[str] = []
        process = subprocess.Popen(
            ["apt-get", *self.options, *words],
            env={**os.environ, **QUIET},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        began, ended = time.monotonic(), threading.Event()

        def still() -> None:
            # DKMS builds for minutes without a word, and some networks cut a silent connection.
            while not ended.wait(TELL_EVERY_SECONDS):
                tell(f"{said}: {time.monotonic() - began:.0f} s, {(lines or ['started'])[-1][:100]}")

        if said:
            threading.Thread(target=still, daemon=True).start()
        for line in process.stdout or ():
            lines.append(line.rstrip())
        status = process.wait()
        ended.set()
        if status:
            raise AptFailed("\n".join(lines[-LAST_LINES:]))
        return lines

    def update(self) -> None:
        """A source that can't be read or whose signature is wrong is an error: old lists are never used silently."""
        until = time.monotonic() + LISTS_SECONDS
        while True:
            try:
                self.get("update", "--error-on=any", said="refreshing the package lists")
                return
            except AptFailed as problem:
                if not lists_are_locked(str(problem)) or time.monotonic() > until:
                    raise
                tell("another apt refreshes the package lists: waiting for it")
                time.sleep(LOCKED_SECONDS)

    def cache(self, *words: str) -> str:
        return ask("apt-cache", *self.options, *words)

    def candidate(self, package: str) -> str:
        """The version that apt would install; "" for none."""
        found = re.search(r"^  Candidate: (\S+)$", self.cache("policy", package), re.MULTILINE)
        return found.group(1) if found and found.group(1) != "(none)" else ""

    def versions(self, *packages: str) -> dict[str, list[str]]:
        """{package: every version that a source has, newest first}."""
        found: dict[str, list[str]] = {package: [] for package in packages}
        for line in self.cache("madison", *packages).splitlines():
            words = [word.strip() for word in line.split("|")]
            # Source packages are listed too, under names of their own.
            binary = len(words) == 3 and words[0] in found and not words[2].endswith(" Sources")
            if binary and words[1] not in found[words[0]]:
                found[words[0]].append(words[1])
        return found

    def would_install(self, *words: str) -> dict[str, str]:
        """{package: version} that this installation brings. Raises AptFailed when it can't be done."""
        lines = self.get("install", "--simulate", *INSTALL, *words)
        found = (re.match(r"Inst (\S+) (?:\[\S+\] )?\((\S+) ", line) for line in lines)
        return {one.group(1): one.group(2) for one in found if one}

    def install(self, *words: str, said: str, archives: Path | None = None) -> None:
        """``archives``: where packages that were downloaded before lie, and those that are downloaded now stay."""
        kept = ("-o", f"Dir::Cache::Archives={archives}") if archives else ()
        if archives:
            (archives / "partial").mkdir(parents=True, exist_ok=True)
        options = (*kept, "-y", *INSTALL)
        try:
            self.get("install", *options, *words, said=said)
        except AptFailed as problem:
            if "dpkg --configure -a" not in str(problem):
                raise
            tell("finishing what an interrupted dpkg left behind")
            subprocess.run(
                ["dpkg", "--configure", "-a"], env={**os.environ, **QUIET}, stdin=subprocess.DEVNULL, check=False
            )
            self.get("install", *options, *words, said=said)

    def download(self, folder: Path, packages: dict[str, str]) -> None:
        """The .deb files of these packages and versions, into ``folder``; those that are there are kept."""
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        missing = [f"{name}={version}" for name, version in packages.items() if not deb(folder, name, version)]
        if missing:
            self.get("download", *missing, folder=str(folder), said="downloading")


def deb(folder: Path, package: str, version: str) -> Path | None:
    """The file of a package as apt-get download names it: a colon of the version is written %3a."""
    found = sorted(folder.glob(f"{package}_{version.replace(':', '%3a')}_*.deb"))
    return found[0] if found else None
