"""Runs on the host as root, standard library only: copies a model's files from local folders and publishes them.

Input: JSON on standard input {"directory", "revision", "files": {name: sha256}, "sources": [folders]}.

Files are copied to DIRECTORY/.incoming-REVISION, hashed while they are copied, and published by one rename when every
hash
matches. In a model that is published already, only wrong files are replaced, each by a rename. A file whose hash does
not match
is kept under DIRECTORY/quarantine and ends the run with status 1: nothing is published.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from typing import Any

CHUNK = 8 * 2**20
ROOM = 1.05  # of the model's size: the filesystem needs a little for itself


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find_source(sources: list[str], revision: str, names: list[str]) -> str:
    """The first folder that holds every file."""
    tried = []
    for source in sources:
        folder = f"{source}/{revision}"
        absent = [name for name in names if not os.path.isfile(f"{folder}/{name}")]
        if not absent:
            return folder
        tried.append(f"{folder} lacks {', '.join(absent[:3])}")
    sys.exit(f"no source has this model: {'; '.join(tried)}\nnothing was copied; weights.sources names the folders")


def copy(source: str, target: str) -> str:
    """Copies and answers the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, "rb") as old, open(target, "wb") as new:
        while chunk := old.read(CHUNK):
            digest.update(chunk)
            new.write(chunk)
        new.flush()
        os.fchmod(new.fileno(), 0o644)
        os.fsync(new.fileno())
    return digest.hexdigest()


def quarantine(directory: str, path: str) -> str:
    folder = f"{directory}/quarantine"
    os.makedirs(folder, exist_ok=True)
    kept = f"{folder}/{os.path.basename(path)}"
    os.replace(path, kept)
    return kept


def record(folder: str, files: dict[str, str]) -> None:
    stamps: dict[str, Any] = {}
    for name, digest in files.items():
        found = os.stat(f"{folder}/{name}")
        stamps[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, digest]
    temporary = f"{folder}/.verified.json"
    with open(temporary, "w") as file:
        json.dump(stamps, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, f"{folder}/verified.json")
    sync_folder(folder)


def fetch(job: dict[str, Any]) -> None:
    directory, revision, files = job["directory"], job["revision"], job["files"]
    published = f"{directory}/{revision}"
    incoming = f"{directory}/.incoming-{revision}"
    present = published if os.path.isdir(published) else incoming
    wrong = [
        n
        for n, digest in files.items()
        if not (os.path.isfile(f"{present}/{n}") and sha256(f"{present}/{n}") == digest)
    ]
    source = find_source(job["sources"], revision, wrong)
    needed = sum(os.path.getsize(f"{source}/{name}") for name in wrong)
    free = shutil.disk_usage(directory).free
    if needed * ROOM > free:
        need, have = needed * ROOM / 2**30, free / 2**30
        sys.exit(f"{directory} has {have:.1f} GiB free and {need:.1f} GiB is needed; nothing was copied")
    os.makedirs(incoming, exist_ok=True)
    for number, name in enumerate(wrong, 1):
        began = time.monotonic()
        seen = copy(f"{source}/{name}", f"{incoming}/{name}")
        if seen != files[name]:
            kept = quarantine(directory, f"{incoming}/{name}")
            sys.exit(
                f"{source}/{name}: its SHA-256 is {seen}, the release says {files[name]}\n"
                f"the copy is at {kept}; nothing was published: correct the file or the release's files"
            )
        size = os.path.getsize(f"{incoming}/{name}") / 2**20
        print(f"{number}/{len(wrong)} {name}: {size:.1f} MiB verified in {time.monotonic() - began:.1f} s", flush=True)
    publish(directory, published, incoming, wrong, files)


def publish(directory: str, published: str, incoming: str, names: list[str], files: dict[str, str]) -> None:
    """The record comes with the model, so that a run cut short never leaves one to be hashed again at every run."""
    if not os.path.isdir(published):
        record(incoming, files)
        os.chmod(incoming, 0o755)  # noqa: S103 - engines read it as their own user
        sync_folder(incoming)
        os.rename(incoming, published)
    else:
        for name in names:
            os.makedirs(os.path.dirname(f"{published}/{name}"), exist_ok=True)
            os.replace(f"{incoming}/{name}", f"{published}/{name}")
        shutil.rmtree(incoming)
        record(published, files)
    sync_folder(directory)


if __name__ == "__main__":
    fetch(json.load(sys.stdin))
