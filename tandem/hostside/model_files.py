"""Model files on disk: hashes, the record of what was verified, what several models share.

A model is a folder DIRECTORY/REVISION; verified.json in it holds [size, mtime_ns, ctime_ns, SHA-256] of each file. A
file that still has the recorded size and times is taken as unchanged: the last can't be set back by hand.
"""

import contextlib
import hashlib
import json
import os
from typing import Any

from tandem.domain.weights import REVISION, Wanted
from tandem.hostside.files import sync_directory

RECORD = "verified.json"
QUARANTINE = "quarantine"

Stamp = list[Any]
Held = dict[tuple[str, str], Stamp]


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str) -> Stamp:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def recorded(folder: str) -> dict[str, Stamp]:
    try:
        with open(f"{folder}/{RECORD}") as file:
            found = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def state(folder: str, file: Wanted, record: Stamp | None) -> str:
    """ "recorded", "right" (the hash is, the record is not) or "wrong" (or missing)."""
    path = f"{folder}/{file.name}"
    if not os.path.isfile(path) or os.path.getsize(path) != file.bytes:
        return "wrong"
    if record == [*stamp(path), file.sha256]:
        return "recorded"
    return "right" if sha256(path) == file.sha256 else "wrong"


def record(folder: str, hashes: dict[str, str]) -> None:
    """Writes verified.json for files whose hashes were just found to be these."""
    stamps = {name: [*stamp(f"{folder}/{name}"), digest] for name, digest in hashes.items()}
    temporary = f"{folder}/.{RECORD}"
    with open(temporary, "w") as file:
        json.dump(stamps, file, indent=1)
        os.fchmod(file.fileno(), 0o644)
        sync_file(file.fileno(), file)
    os.replace(temporary, f"{folder}/{RECORD}")
    sync_directory(folder)


def sync_file(descriptor: int, file: Any) -> None:
    file.flush()
    os.fsync(descriptor)


def models(directory: str) -> list[str]:
    """The revisions that are published in ``directory``."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [name for name in names if REVISION.fullmatch(name) and os.path.isdir(f"{directory}/{name}")]


def held(directory: str) -> Held:
    """{(folder, name): record} of all published files that are as recorded."""
    found: Held = {}
    for revision in models(directory):
        folder = f"{directory}/{revision}"
        for name, entry in recorded(folder).items():
            with contextlib.suppress(OSError):
                if entry[:3] == stamp(f"{folder}/{name}"):
                    found[folder, name] = entry
    return found


def record_links(before: Held) -> None:
    """Linking and unlinking changes a shared file's ctime: records that were right before are right again."""
    same: dict[str, dict[str, str]] = {}
    stale = set()
    for (folder, name), entry in before.items():
        with contextlib.suppress(FileNotFoundError):
            now = stamp(f"{folder}/{name}")
            if now[:2] == entry[:2]:
                same.setdefault(folder, {})[name] = entry[3]
                if now != entry[:3]:
                    stale.add(folder)
    for folder in stale:
        record(folder, same[folder])


def link_equal(file: Wanted, target: str, donors: Held) -> bool:
    """Makes ``target`` a hard link to a published file with this SHA-256, if there is one."""
    for (folder, name), entry in donors.items():
        if entry[3] == file.sha256 and entry[0] == file.bytes:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            # Another filesystem, or too many links: then it is fetched.
            with contextlib.suppress(OSError):
                os.link(f"{folder}/{name}", target)
                return True
    return False


def quarantine(directory: str, path: str, digest: str) -> str:
    """Puts a bad file aside. Its own hash is in the name: another bad one never takes its place."""
    folder = f"{directory}/{QUARANTINE}"
    os.makedirs(folder, exist_ok=True)
    kept = f"{folder}/{digest[:16]}-{os.path.basename(path).removesuffix('.part')}"
    os.replace(path, kept)
    return kept
