"""What a finished bundle says about itself: MANIFEST.json, and whether a folder is a finished bundle."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tandem.bundling import packages
from tandem.bundling.hashes import Hashes
from tandem.bundling.signing import SIGNED, Key
from tandem.bundling.wanted import Wanted
from tandem.domain.bundle import SCHEMA, SYSTEM


@dataclass(frozen=True)
class Manifest:
    """The texts of MANIFEST.json and Packages, and the bytes of all files that the first one names."""

    text: str
    packages: str
    bytes: int


def files(folder: Path, want: Wanted, debs: Sequence[packages.Deb]) -> list[str]:
    """Every file of the bundle but those that are signed, relative to it."""
    layout = sorted(str(path.relative_to(folder)) for path in (folder / "images").rglob("*") if path.is_file())
    names = [f"{revision}/{name}" for revision, one in want.models.items() for name in one["files"]]
    return [*(f"packages/{deb.name}" for deb in debs), *layout, *(f"weights/{name}" for name in sorted(names))]


def manifest(
    folder: Path, want: Wanted, names: Sequence[str], packages_text: str, hashes: Hashes, made: datetime
) -> Manifest:
    listed: dict[str, dict[str, Any]] = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": hashes.sha256(folder / name)} for name in names
    }
    said = {
        "schema": SCHEMA,
        "made": made.isoformat(timespec="seconds"),
        "inputs": want.inputs,
        "system": SYSTEM,
        "releases": list(want.releases),
        "packages": packages.versions(packages_text),
        "images": list(want.images),
        "models": {revision: one["repository"] for revision, one in want.models.items()},
        "left_out": list(want.left_out),
        "files": listed,
    }
    return Manifest(json.dumps(said, indent=1) + "\n", packages_text, sum(one["bytes"] for one in listed.values()))


def _described(path: Path, hashes: Hashes) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": hashes.sha256(path)}


def complete(folder: Path, inputs: str, key: Key) -> bool:
    """A bundle for these inputs, signed with this key, every file there in its size."""
    try:
        signed = key.verified((folder / "InRelease").read_text())
        said: dict[str, Any] = json.loads((folder / "MANIFEST.json").read_text())
        hashed = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SIGNED}
        same = all((folder / name).stat().st_size == one["bytes"] for name, one in said["files"].items())
    except (OSError, ValueError, KeyError):
        return False
    rows = re.findall(r"^ ([0-9a-f]{64}) \d+ (\S+)$", signed, re.MULTILINE)
    return same and {name: digest for digest, name in rows} == hashed and said["inputs"] == inputs
