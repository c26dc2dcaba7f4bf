"""The folders of the weights directory: their size, and whether anything uses them."""

import contextlib
import glob
import os
import re
import stat
from collections.abc import Collection

from tandem.domain.weights import REVISION

UNITS = "/etc/containers/systemd/*.container"
MOUNTS = "/proc/[0-9]*/mountinfo"

FOLDER = re.compile(rf"(\.incoming-|\.removing-)?{REVISION.pattern}")


def folders(directory: str) -> dict[str, int]:
    """{name: bytes that removing it would free}. Bytes shared with another model are not freed."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    models = [name for name in names if FOLDER.fullmatch(name) and os.path.isdir(f"{directory}/{name}")]
    return {name: _own_bytes(f"{directory}/{name}") for name in models}


def _own_bytes(folder: str) -> int:
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(f"{at}/{name}")
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                total += found.st_size
    return total


def mounted(names: Collection[str], units: str = UNITS, mounts: str = MOUNTS) -> set[str]:
    """The revisions among ``names`` that a Quadlet unit names in a Volume, or that a running process has mounted."""
    texts = [line for path in glob.glob(units) for line in _lines(path) if line.startswith("Volume=")]
    texts += [line for path in glob.glob(mounts) for line in _lines(path)]
    used = set(REVISION.findall("\n".join(texts)))
    return {name[-40:] for name in names} & used


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read().splitlines()
    return []
