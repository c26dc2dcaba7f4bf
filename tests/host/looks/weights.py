"""Runs on the host as root, standard library only: the weights folder, every model file hashed, as one JSON line.

Input: one JSON argument {"directory": weights folder, "revisions": [folders in it]}.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from typing import Any


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model(folder: str) -> dict[str, Any]:
    with open(f"{folder}/verified.json") as file:
        records = json.load(file)
    names = [os.path.relpath(os.path.join(at, name), folder) for at, _, files in os.walk(folder) for name in files]
    found = {name: os.stat(f"{folder}/{name}") for name in names if name != "verified.json"}
    return {
        "verified": {name: record[-1] for name, record in records.items()},
        "outdated": [
            name
            for name, seen in found.items()
            if records.get(name, [])[:3] != [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]
        ],
        "hashes": {name: sha256(f"{folder}/{name}") for name in found},
        "modes": {name: f"{stat.S_IMODE(seen.st_mode):04o} {seen.st_uid}" for name, seen in found.items()},
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    directory = asked["directory"]
    command = ["findmnt", "--json", "--target", directory, "--output", "TARGET,SOURCE,FSTYPE,OPTIONS,UUID"]
    mounted = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout)
    answer = {
        "mount": mounted["filesystems"][-1],
        "unfinished": [name for name in os.listdir(directory) if name.startswith((".incoming-", ".removing-"))],
        "models": {revision: model(f"{directory}/{revision}") for revision in asked["revisions"]},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
