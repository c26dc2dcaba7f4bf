"""Room that is kept for going back: on a full disk nothing could be recorded, and so nothing moved."""

import os
from pathlib import Path
from typing import Final

from tandem.hostside.paths import Paths

RESERVED_BYTES: Final = 1 << 20
LEAST_BYTES: Final = 512 << 10
"""With less room than that the reserve is used."""
ROOMY_BYTES: Final = 64 << 20
"""With more room than that it is laid in again."""


def use_if_needed(paths: Paths) -> None:
    """Gives the reserve back to the disk where there is little room left."""
    if free_bytes(paths.state.parent) < LEAST_BYTES:
        paths.reserve.unlink(missing_ok=True)


def lay_in(paths: Paths) -> None:
    """Makes the reserve where it is missing and there is room. Raises OSError."""
    if paths.reserve.exists() or free_bytes(paths.state.parent) < ROOMY_BYTES:
        return
    temporary = paths.reserve.with_name(".reserve.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
    finally:
        os.close(descriptor)
    temporary.rename(paths.reserve)


def free_bytes(folder: Path) -> int:
    """What root can still write there; plenty where the folder is not made yet."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return ROOMY_BYTES
    return found.f_bfree * found.f_frsize
