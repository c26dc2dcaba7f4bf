"""How backups are set up on this host, how the last one went, and which there are. Runs on the host, as root."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tandem.domain.backup import Keep, Moment, made, warnings
from tandem.domain.refused import Refused
from tandem.hostside.paths import Paths

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Settings:
    """What install rendered. ``directory`` below the root of the host's paths; ``target``: the words of a command."""

    recipients: tuple[str, ...]
    directory: Path
    keep: Keep
    target: tuple[str, ...]
    verify: bool
    warn_after_hours: float


def settings(paths: Paths) -> Settings | None:
    """None where no backups are configured. Raises Refused for a file that was changed by hand."""
    path = paths.root / "etc/tandem/backup.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Settings(
            tuple(found["recipients"]),
            paths.root / found["directory"].lstrip("/"),
            Keep(**found["keep"]),
            tuple(found["target"]),
            found["verify"],
            found["warn_after_hours"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(f"{path} was changed by hand. Nothing was changed. Run install again.") from None


def work_folder(paths: Paths) -> Path:
    """Where copies are staged; others may pass, so that a database's owner can write its copy, and see no names."""
    return paths.root / "var/lib/tandem/backup"


def record_file(paths: Paths) -> Path:
    """How the last backup went, for whoever shows it: no secret."""
    return paths.root / "var/lib/tandem/backup.json"


def record(paths: Paths) -> dict[str, Any]:
    """``at``, ``boot_id``, ``boot_seconds``, ``size``, ``sha256``, ``where``, ``users``, ``chats``, ``proof`` of the
    last good one; ``ok``, and ``failed`` with ``failed_at``, of the last try. {} before the first, or unreadable.
    """
    try:
        found = json.loads(record_file(paths).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def look(paths: Paths) -> dict[str, Any]:
    """{"configured", "warnings": [sentences], "record", "backups": [{"name", "size"}]} for status and doctor."""
    configured, found = standing(paths)
    backups: list[dict[str, Any]] = []
    with suppress(Refused, OSError):  # said among the warnings
        backups = list(_sizes(kept(settings(paths))))
    return {"configured": configured, "warnings": found, "record": record(paths), "backups": backups}


def standing(paths: Paths) -> tuple[bool, list[str]]:
    """Whether backups are configured, and what people should be told of them. Never asks the disk that they are on,
    and raises nothing for settings that can't be read: a host is watched and shown all the same.
    """
    try:
        now = settings(paths)
        return now is not None, warnings(now is not None, now.warn_after_hours if now else 0.0, record(paths), moment())
    except (Refused, OSError, TypeError) as error:
        return True, [f"backups can't be looked at: {error}"]


def _sizes(found: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in found:
        with suppress(FileNotFoundError):  # it has just expired
            yield {"name": path.name, "size": path.stat().st_size}


def kept(now: Settings | None) -> list[Path]:
    """The backups that are there, the newest first."""
    if now is None or not now.directory.is_dir():
        return []
    found = [(made(path.name), path) for path in now.directory.iterdir() if made(path.name) and path.is_file()]
    return [path for _, path in sorted(found, key=lambda one: one[0].at if one[0] else datetime.min, reverse=True)]


def moment() -> Moment:
    boot = BOOT_ID.read_text(encoding="ascii").strip()
    return Moment(datetime.now(UTC), boot, round(time.clock_gettime(time.CLOCK_BOOTTIME), 3))
