"""Runs on the host as root, standard library only: which wanted model files are published and unchanged.

Input: one JSON argument {"directory": weights folder, "models": {revision: {file: {"bytes", "sha256"}}}}.
Output: one JSON line {revision: {"published": bool, "wrong": [files missing, changed or of another hash],
"unrecorded": [files that are right, and were hashed because their record is missing or of another time]}}.
"""

import json
import os
import sys

from tandem.domain.weights import wanted_files
from tandem.hostside.model_files import recorded, state


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = {}
    for revision, files in asked["models"].items():
        folder = f"{asked['directory']}/{revision}"
        records = recorded(folder)
        states = {file.name: state(folder, file, records.get(file.name)) for file in wanted_files(files)}
        answer[revision] = {
            "published": os.path.isdir(folder),
            "wrong": [name for name, found in states.items() if found == "wrong"],
            "unrecorded": [name for name, found in states.items() if found == "right"],
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
