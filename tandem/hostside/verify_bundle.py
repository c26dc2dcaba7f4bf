"""Runs on the host as root, standard library only: hashes the files of an offline bundle and remembers them.

Input: one JSON argument {"path": the bundle's folder, whose manifest was found signed}.
A file that is not what the manifest says ends it with exit status 1; nothing is written then. Files that were hashed
before and have not changed since are taken as they are.
"""

import json
import os
import sys
import time
from pathlib import Path

from tandem.hostside.bundle_files import RECORD, sha256, stamp, unverified, verified
from tandem.hostside.files import write_atomic

TELL_EVERY_SECONDS = 5.0


def verify(path: str, record: str = RECORD) -> None:
    with open(f"{path}/MANIFEST.json") as file:
        files = json.load(file)["files"]
    names = unverified(path, files, record)
    total_bytes, done_bytes, wrong = sum(files[name]["bytes"] for name in names), 0, []
    print(f"hashing {len(names)} files of the bundle, {total_bytes / 2**30:.1f} GiB", flush=True)
    began = told = time.monotonic()
    known = verified(path, record)
    for name in names:
        before = stamp(f"{path}/{name}")
        if sha256(f"{path}/{name}") == files[name]["sha256"]:
            known[name] = [before, files[name]["sha256"]]
        else:
            wrong.append(name)
        done_bytes += files[name]["bytes"]
        if time.monotonic() - told > TELL_EVERY_SECONDS:
            told = time.monotonic()
            print(f"{done_bytes / total_bytes:4.0%} after {told - began:.0f} s", flush=True)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        sys.exit(
            f"{path} is damaged: {', '.join(wrong[:3])}{more} not what was signed; nothing was changed on this host: "
            "copy the bundle anew, or run `make bundle` again"
        )
    os.makedirs(os.path.dirname(record), exist_ok=True)
    kept = {name: known[name] for name in files}
    write_atomic(Path(record), json.dumps({"path": path, "files": kept}))
    print(f"verified in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    verify(json.loads(sys.argv[1])["path"])
