"""Runs on the host as root, standard library only: removes models that nothing uses.

Input: one JSON argument {"directory": weights folder, "folders": [names in it]}.
Each folder is renamed first, so that half a model is never taken for a whole one; a run cut short is finished by the
next. Ends with status 1, and removes nothing, when something uses one of them after all.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from tandem.domain.weights import size
from tandem.hostside.files import sync_directory
from tandem.hostside.lock import LockHeld, lock
from tandem.hostside.model_files import held, record_links
from tandem.hostside.model_folders import folders, mounted


def remove(directory: str, names: list[str]) -> None:
    found = folders(directory)
    wanted = [name for name in names if name in found]
    if used := mounted(wanted):
        sys.exit(f"model {', '.join(sorted(used))} is in use; no model was removed: declare the release that serves it")
    for name in wanted:
        if not os.path.isdir(f"{directory}/{name}"):
            continue  # gone with another of the same revision
        shared = held(directory)
        aside = f"{directory}/.removing-{name[-40:]}"
        if f".removing-{name[-40:]}" != name:
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(f"{directory}/{name}", aside)
            sync_directory(directory)
        shutil.rmtree(aside)
        record_links(shared)
        print(f"removed {directory}/{name}: {size(found[name])} freed", flush=True)


def main() -> None:
    job = json.loads(sys.argv[1])
    try:
        with lock(Path(job["directory"], ".lock"), "install", "remove models", 10):
            remove(job["directory"], job["folders"])
    except LockHeld as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
