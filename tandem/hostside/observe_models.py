"""Runs on the host as root, standard library only: every model in the weights folder, and which are in use.

Input: one JSON argument {"directory": weights folder}.
Output: one JSON line {"folders": {name: bytes that removing it would free}, "mounted": [revisions]}.

Folders are published models, partial downloads (.incoming-...) and what an interrupted removal left (.removing-...). A
model is in use when a Quadlet unit names it, or when a running process has it mounted.
"""

import json
import sys

from tandem.hostside.model_folders import folders, mounted


def main() -> None:
    found = folders(json.loads(sys.argv[1])["directory"])
    print(json.dumps({"folders": found, "mounted": sorted(mounted(found))}))


if __name__ == "__main__":
    main()
