"""Builds a driver's kernel module in a folder of its own, before anything of the driver is installed or changed."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tandem.domain.kernels import first_error
from tandem.hostside.driver_apt import tell

FOLDER = Path("/var/lib/tandem/driver/trial")
TELL_EVERY_SECONDS = 15


class BuildFailed(Exception):
    """The message says what the compiler said first, and where its log is."""


def build(package: Path, kernels: list[str]) -> str:
    """Unpacks a DKMS package and builds its module for each kernel; answers the module's version.

    Raises BuildFailed; the log stays until the next trial.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o755, parents=True)
    subprocess.run(["dpkg-deb", "-x", str(package), str(FOLDER / "package")], check=True)
    found = sorted((FOLDER / "package/usr/src").glob("*/dkms.conf"))
    if not found:
        raise BuildFailed(f"{package.name} has no dkms.conf: is it a DKMS package?")
    name, version = identity(found[0])
    for kernel in kernels:
        began = time.monotonic()
        dkms("add", "-m", name, "-v", version)
        status, said = dkms("build", "-m", name, "-v", version, "-k", kernel)
        log = FOLDER / f"dkms/{name}/{version}/build/make.log"
        if status:
            text = log.read_text(errors="replace") if log.exists() else said
            error = first_error(text) or (said.strip().splitlines() or ["dkms said nothing"])[-1]
            raise BuildFailed(f"module {name} {version} does not build for kernel {kernel}:\n  {error}\n  log: {log}")
        tell(f"trial build of {name} {version} for kernel {kernel}: {time.monotonic() - began:.0f} s")
    shutil.rmtree(FOLDER)
    return version


def identity(conf: Path) -> tuple[str, str]:
    """Name and version as dkms.conf says them."""
    text = conf.read_text()
    pairs = [re.search(rf"^PACKAGE_{word}=[\"']?([^\"'\s]+)", text, re.MULTILINE) for word in ("NAME", "VERSION")]
    if not pairs[0] or not pairs[1]:
        raise BuildFailed(f"{conf} names no PACKAGE_NAME and PACKAGE_VERSION")
    return pairs[0].group(1), pairs[1].group(1)


def dkms(*words: str) -> tuple[int, str]:
    """dkms with folders of its own."""
    (FOLDER / "dkms").mkdir(exist_ok=True)
    return telling("dkms", *words, "--sourcetree", str(FOLDER / "package/usr/src"), "--dkmstree", str(FOLDER / "dkms"))


def telling(*command: str) -> tuple[int, str]:
    """Runs a command that takes minutes, says every few seconds that it still runs; its status and what it said."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True)
        began = time.monotonic()
        while True:
            try:
                status = process.wait(TELL_EVERY_SECONDS)
                break
            except subprocess.TimeoutExpired:
                tell(f"{' '.join(command[:2])}: {time.monotonic() - began:.0f} s")
        log.seek(0)
        return status, log.read()


def build_in_place(kernel: str) -> None:
    """What the installed DKMS packages lack for a kernel."""
    tell(telling("dkms", "autoinstall", "-k", kernel)[1].strip()[-500:])
