"""Runs on the host as root, standard library only: which wanted model files are published and unchanged.

Input: one JSON argument {"directory": weights folder, "models": {revision: {file: sha256}}}.
Output: one JSON line {revision: {"published": bool, "wrong": [files missing, changed or of another hash]}}.

A model is published by one rename after every hash matched; verified.json beside its files then records size, time and
hash of each. A file with the recorded size and times is taken as unchanged; any other file is hashed again.
"""

import hashlib
import json
import os
import sys


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str) -> list[int]:
    """Size, modification and inode-change time (nanoseconds): the last can't be set back by hand."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def verified(folder: str) -> dict[str, list[int | str]]:
    try:
        with open(f"{folder}/verified.json") as file:
            records: dict[str, list[int | str]] = json.load(file)
            return records
    except (FileNotFoundError, ValueError):
        return {}


def right(folder: str, name: str, wanted: str, record: list[int | str] | None) -> bool:
    path = f"{folder}/{name}"
    if not os.path.isfile(path):
        return False
    if record == [*stamp(path), wanted]:
        return True
    return sha256(path) == wanted


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = {}
    for revision, files in asked["models"].items():
        folder = f"{asked['directory']}/{revision}"
        records = verified(folder)
        wrong = [name for name, wanted in files.items() if not right(folder, name, wanted, records.get(name))]
        answer[revision] = {"published": os.path.isdir(folder), "wrong": wrong}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
