"""Runs on the host, standard library only: says what is there of the paths that the operator's side asks about.

Input: one JSON argument {"paths": [absolute paths], "generated": [paths whose content is never read], "groups": [base
folders]}.
Output: one JSON line {"entries": {path: seen}, "groups": {base: {"current": link target or null, "files": {relative:
seen}}},
"owned": [paths]}; ``seen`` is {"kind": "file"|"directory"|"link"|"other", "mode", "uid", "gid", "sha256", "target"}.
A path that does not exist is left out. ``owned`` is the manifest: every path that Tandem wrote on this host.
"""

import hashlib
import json
import os
import stat
import sys
from typing import Any

MANIFEST = "/var/lib/tandem/manifest.json"


def see(path: str, read: bool) -> dict[str, Any] | None:
    """One path, or None when it does not exist."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    seen: dict[str, Any] = {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "uid": found.st_uid, "gid": found.st_gid}
    if stat.S_ISLNK(found.st_mode):
        return {**seen, "kind": "link", "target": os.readlink(path)}
    if stat.S_ISDIR(found.st_mode):
        return {**seen, "kind": "directory"}
    if not stat.S_ISREG(found.st_mode):
        return {**seen, "kind": "other"}
    if read:
        with open(path, "rb") as file:
            seen["sha256"] = hashlib.sha256(file.read()).hexdigest()
    return {**seen, "kind": "file"}


def see_group(base: str) -> dict[str, Any]:
    """The active link and every file below the folder that it names, all other folders by name."""
    current = see(f"{base}/current", False)
    target = current["target"] if current and current["kind"] == "link" else None
    files = {}
    for folder, _, names in os.walk(base):
        for name in names:
            path = os.path.join(folder, name)
            if path != f"{base}/current":
                files[os.path.relpath(path, base)] = see(path, True)
    return {"current": target, "files": files}


def owned() -> list[str]:
    try:
        with open(MANIFEST) as file:
            paths: list[str] = json.load(file)["paths"]
            return paths
    except (FileNotFoundError, ValueError, KeyError):
        return []


def main() -> None:
    asked = json.loads(sys.argv[1])
    generated = set(asked["generated"])
    entries = {path: see(path, path not in generated) for path in asked["paths"]}
    answer = {
        "entries": {path: seen for path, seen in entries.items() if seen},
        "groups": {base: see_group(base) for base in asked["groups"]},
        "owned": owned(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
