"""The files of an offline bundle, and what is remembered of those that were verified. Standard library only."""

import hashlib
import json
import os
from typing import Any

RECORD = "/var/lib/tandem/bundle.json"


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str) -> list[int]:
    """Size, modification and inode-change time (nanoseconds): the last can't be set back by hand."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def verified(path: str, record: str = RECORD) -> dict[str, Any]:
    """{file: [stamp, SHA-256]} of the bundle at ``path`` that was verified here; {} when none was."""
    try:
        with open(record) as file:
            found = json.load(file)
        return dict(found["files"]) if found["path"] == path else {}
    except (OSError, ValueError, KeyError):
        return {}


def unverified(path: str, files: dict[str, dict[str, Any]], record: str = RECORD) -> list[str]:
    """Those of ``files`` (as the manifest has them) that nobody has hashed here since they last changed."""
    known = verified(path, record)
    return [name for name, file in files.items() if known.get(name) != [stamp(f"{path}/{name}"), file["sha256"]]]
