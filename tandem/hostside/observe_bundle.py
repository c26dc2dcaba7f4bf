"""Runs on the host as root, standard library only: what is the folder that should be an offline bundle?

Input: one JSON argument {"path": the folder, "key": the public key that must have signed it, in ASCII armour}.
Output: one JSON line {"folder": bool, "absent": [signed files that are not there], "signature": "" or why apt refuses
it, "damaged": [signed files with another content], "manifest": MANIFEST.json or null, "missing": [files that are not
there in their size], "unverified_bytes": of files whose hash nobody has checked here}. Changes nothing.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from typing import Any

from tandem.hostside.bundle_files import sha256, unverified

SIGNED = ("InRelease", "Packages", "MANIFEST.json")


def refused_by_apt(path: str, key: str) -> str:
    """ "" when apt takes the bundle's index as signed with ``key`` and whole, else its own words."""
    with tempfile.TemporaryDirectory() as work:
        with open(f"{work}/key.asc", "w") as file:
            file.write(key)
        with open(f"{work}/bundle.sources", "w") as file:
            file.write(f"Types: deb\nURIs: file:{path}\nSuites: /\nSigned-By: {work}/key.asc\n")
        os.makedirs(f"{work}/lists/partial")
        options = {
            "Dir::Etc::SourceList": f"{work}/bundle.sources",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": f"{work}/lists",
            "Dir::Cache": work,
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            ["apt-get", "update", "-q", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    said = " ".join(lines[0].rpartition("error message is:")[2].split()) if lines else ""
    return said or "apt-get update failed"


def damaged(path: str) -> list[str]:
    """The signed files whose content is not what InRelease says."""
    with open(f"{path}/InRelease") as file:
        rows = re.findall(r"^ ([0-9a-f]{64}) (\d+) (\S+)$", file.read(), re.MULTILINE)
    listed = {name: digest for digest, _, name in rows}
    return [name for name in SIGNED[1:] if listed.get(name) != sha256(f"{path}/{name}")]


def missing(path: str, files: dict[str, Any]) -> list[str]:
    return [name for name, file in files.items() if not has(f"{path}/{name}", file["bytes"])]


def has(path: str, size_bytes: int) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == size_bytes


def observe(path: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"folder": os.path.isdir(path), "manifest": None, "unverified_bytes": 0}
    found |= {"absent": [], "signature": "", "damaged": [], "missing": []}
    found["absent"] = [name for name in SIGNED if not os.path.isfile(f"{path}/{name}")]
    if found["absent"]:
        return found
    found["damaged"] = damaged(path)
    found["signature"] = refused_by_apt(path, key) if found["damaged"] != ["Packages"] else ""
    if found["signature"] or found["damaged"]:
        return found
    with open(f"{path}/MANIFEST.json") as file:
        found["manifest"] = json.load(file)
    files = found["manifest"]["files"]
    found["missing"] = missing(path, files)
    if not found["missing"]:
        found["unverified_bytes"] = sum(files[name]["bytes"] for name in unverified(path, files))
    return found


if __name__ == "__main__":
    print(json.dumps(observe(**json.loads(sys.argv[1]))))
