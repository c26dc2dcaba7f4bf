"""Backups: their names, which are kept, what is in one, and when to warn. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

SCHEMA: Final = 1
ENDING: Final = ".tar.age"
MANIFEST: Final = "manifest.json"
WEBUI: Final = "webui"
SECRETS: Final = "secrets"
CONFIG: Final = "config"
STATE: Final = "state"
PARTS: Final = (WEBUI, SECRETS, CONFIG, STATE)
"""The folders of an archive. Only the first two are put back; install renders the others' content anew."""

DATABASE: Final = f"{WEBUI}/webui.db"
TEXTS: Final = ("host", "at", "tandem", "image", "release")

FAILED: Final = "the last backup failed"

GRACE_HOURS: Final = 1.0
"""A daily backup takes a while: the one before is that much older than a day when it is done."""

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"tandem-(?P<host>[a-z0-9][a-z0-9._-]*)-(?P<stamp>\d{8}T\d{6}Z)\.tar\.age")


class Spoilt(Exception):
    """An archive is not what Tandem writes. The text is the problem, as the end of a sentence."""


@dataclass(frozen=True)
class Keep:
    """How many backups are kept: the newest of each of so many days, weeks and months that have one (UTC)."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


@dataclass(frozen=True)
class Made:
    """A backup by its file name."""

    name: str
    host: str
    at: datetime


@dataclass(frozen=True)
class Entry:
    """A file of a backup, with what it must be when it is taken out again."""

    size: int
    sha256: str
    mode: str


@dataclass(frozen=True)
class Manifest:
    """``users`` and ``chats``: rows of Open WebUI's database. ``image``: the WebUI that wrote it, by digest.

    ``tandem``: the digest of the program that made the backup. ``files`` by name in the archive.
    """

    host: str
    at: str
    tandem: str
    image: str
    release: str
    users: int
    chats: int
    files: Mapping[str, Entry]

    @property
    def size(self) -> int:
        """Bytes that the files take when they are taken out."""
        return sum(entry.size for entry in self.files.values())


@dataclass(frozen=True)
class Moment:
    """Now, by the clock that people set and by the one of this boot, which nobody can set."""

    at: datetime
    boot_id: str
    boot_seconds: float


def file_name(host: str, at: datetime) -> str:
    """``host``: its name in lower case; ``at`` in UTC."""
    plain = re.sub(r"[^a-z0-9._-]", "-", host.lower()).strip("-._") or "host"
    return f"tandem-{plain}-{at.astimezone(UTC).strftime(_STAMP)}{ENDING}"


def made(name: str) -> Made | None:
    """None for a file that is no backup of ours."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    try:
        at = datetime.strptime(found["stamp"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Made(name, found["host"], at)


def expired(names: Iterable[str], keep: Keep) -> list[str]:
    """The backups that no rule keeps, oldest first. The newest one is always kept; files of others are not named."""
    backups = sorted(filter(None, map(made, names)), key=lambda one: (one.at, one.name), reverse=True)
    kept = {one.name for one in backups[:1]}
    for count, period in ((keep.daily, "%Y-%m-%d"), (keep.weekly, "%G-%V"), (keep.monthly, "%Y-%m")):
        newest: dict[str, str] = {}
        for one in backups:
            newest.setdefault(one.at.strftime(period), one.name)
        kept |= set(list(newest.values())[:count])
    return [one.name for one in reversed(backups) if one.name not in kept]


def checked_name(name: str) -> str:
    """``name`` of a file in an archive, if it stays inside of the folder that it is taken out to. Raises Spoilt."""
    parts = PurePosixPath(name).parts
    # A backslash is a letter here: people upload files with one in the name.
    plain = name == "/".join(parts) and "\0" not in name
    if not plain or not parts or name.startswith("/") or ".." in parts or "." in parts:
        raise Spoilt(f"it holds a file named {name[:100]!r}")
    if name != MANIFEST and (parts[0] not in PARTS or len(parts) < 2):
        raise Spoilt(f"it holds a file named {name[:100]!r}, which no backup has")
    return name


def to_record(manifest: Manifest) -> dict[str, Any]:
    plain = {name: value for name, value in vars(manifest).items() if name != "files"}
    return {"schema": SCHEMA, **plain, "files": {name: vars(entry) for name, entry in manifest.files.items()}}


def from_record(record: Any) -> Manifest:
    """The inverse of ``to_record``. Raises Spoilt for anything that it did not write."""
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise Spoilt("its manifest is no manifest")
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Spoilt(f"a newer Tandem wrote it (schema {schema}, this one knows {SCHEMA})")
    texts = {name: record[name] for name in TEXTS if isinstance(record.get(name), str)}
    if schema != SCHEMA or len(texts) < len(TEXTS) or not _is_count(record.get("users"), record.get("chats")):
        raise Spoilt("its manifest is no manifest")
    files = {checked_name(name): _entry(entry) for name, entry in record["files"].items()}
    if MANIFEST in files:
        raise Spoilt("its manifest names itself")
    return Manifest(**texts, users=record["users"], chats=record["chats"], files=files)


def _entry(record: Any) -> Entry:
    right = isinstance(record, dict) and record.keys() == {"size", "sha256", "mode"} and _is_count(record["size"])
    if not right or not re.fullmatch(r"[0-9a-f]{64}", str(record["sha256"])):
        raise Spoilt("its manifest is no manifest")
    if not re.fullmatch(r"0[0-7]{3}", str(record["mode"])):
        raise Spoilt("a file in it has a mode that no file of a backup has")
    return Entry(record["size"], record["sha256"], record["mode"])


def _is_count(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def age_hours(record: Mapping[str, Any], now: Moment) -> float | None:
    """How old the last good backup is; None if there is none or its age can't be known (a clock was set back)."""
    try:
        if record["boot_id"] == now.boot_id:
            return max(0.0, now.boot_seconds - float(record["boot_seconds"])) / 3600
        hours = (now.at - datetime.fromisoformat(record["at"])).total_seconds() / 3600
    except (KeyError, TypeError, ValueError):
        return None
    return hours if hours >= 0 else None


def warnings(configured: bool, warn_after_hours: float, record: Mapping[str, Any] | None, now: Moment) -> list[str]:
    """What people should be told about the backups of a host; [] if all is well."""
    if not configured:
        return ["there are no backups: give backup/recipients in group_data and run install"]
    found = []
    if record and record.get("failed"):
        found.append(f"{FAILED}: {record['failed']}")
    hours = age_hours(record or {}, now)
    if hours is None:
        found.append("there is no backup yet: run deploys/backup.py, or `tandemctl backup run` on the host")
    elif hours > warn_after_hours + GRACE_HOURS:
        late = f"the last backup is {hours:.0f} hours old (more than {warn_after_hours:g})"
        found.append(f"{late}: systemctl status tandem-backup.timer")
    return found


def size_text(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def filled(words: Sequence[str], file: str) -> list[str]:
    """A command with ``{file}`` replaced; the path is its last word where no word has that."""
    command = [word.replace("{file}", file) for word in words]
    return command if any("{file}" in word for word in words) else [*command, file]
