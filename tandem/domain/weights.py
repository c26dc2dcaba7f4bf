"""Decisions about model files: how long to wait for a source, how far it is, what may be removed. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TRIES: Final = 5
"""A source that brings nothing in so many tries in a row is left for the next one."""
LONGEST_WAIT_SECONDS: Final = 330.0
"""The hub counts requests in windows of five minutes; a source that asks for more patience is left."""
FIRST_WAIT_SECONDS: Final = 1.0
ROOM: Final = 1.05
"""Of the missing bytes must be free: the filesystem needs a little for itself."""

REVISION: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Wanted:
    """One file of a model: its path below the model's folder, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


def wanted_files(files: Mapping[str, Mapping[str, object]]) -> list[Wanted]:
    """The files of a manifest: {name: {"bytes", "sha256"}}."""
    return [Wanted(name, int(str(file["bytes"])), str(file["sha256"])) for name, file in files.items()]


def size(count: float) -> str:
    """ "17 B", "3.1 MiB" or "12.8 GiB"."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def wait_seconds(tries: int, asked_seconds: float | None, first_seconds: float) -> float | None:
    """How long to wait after ``tries`` tries in vain: as asked, else twice as long each time; None: give up."""
    if tries >= TRIES or (asked_seconds or 0) > LONGEST_WAIT_SECONDS:
        return None
    return asked_seconds if asked_seconds is not None else first_seconds * 2 ** (tries - 1)


def progress(done: int, total: int, bytes_per_second: float) -> str:
    """One line: "3.2 GiB of 12.8 GiB (25 %), 85.1 MiB/s, 1 min 55 s left"."""
    share = 100 * done // total if total else 100
    line = f"{size(done)} of {size(total)} ({share} %), {size(bytes_per_second)}/s"
    return f"{line}, {duration((total - done) / bytes_per_second)} left" if bytes_per_second > 0 else line


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(frozen=True)
class Unused:
    """Folders of models that nothing needs, with the bytes that removing each would free; or why none may go."""

    folders: Mapping[str, int]
    why_none: str | None = None

    @property
    def bytes(self) -> int:
        return sum(self.folders.values())


def unused(
    folders: Mapping[str, int], declared: Collection[str], mounted: Collection[str], undeclared: Sequence[str]
) -> Unused:
    """What may be removed of ``folders`` {name: bytes}.

    ``declared``: revisions of all declared releases. ``mounted``: revisions that an engine's unit or a running process
    uses. ``undeclared``: releases that the host has on record and the configuration no longer has; what they need is
    known from their units alone, so with fewer such units than releases nothing is removed.
    """
    if len(undeclared) > len(set(mounted) - set(declared)):
        names = ", ".join(undeclared)
        return Unused({}, f"release {names} is on record and is not declared, so which model it needs is not known")
    keep = {*declared, *mounted}
    return Unused({name: count for name, count in folders.items() if not any(one in name for one in keep)})
