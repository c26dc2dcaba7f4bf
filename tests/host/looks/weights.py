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
        verified = {name: record[-1] for name, record in json.load(file).items()}
    names = [os.path.relpath(os.path.join(at, name), folder) for at, _, files in os.walk(folder) for name in files]
    found = {name: os.stat(f"{folder}/{name}") for name in names if name != "verified.json"}
    return {
        "verified": verified,
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
        "unfinished": [name for name in os.listdir(directory) if name.startswith(".incoming-")],
        "models": {revision: model(f"{directory}/{revision}") for revision in asked["revisions"]},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
