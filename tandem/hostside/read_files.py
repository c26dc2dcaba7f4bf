"""Runs on the host, standard library only: prints the text of the files in its JSON argument, as one JSON line."""

import json
import sys


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    print(json.dumps({path: read(path) for path in json.loads(sys.argv[1])}))
