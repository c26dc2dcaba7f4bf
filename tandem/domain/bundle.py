"""May this host be installed from this bundle? Pure: what was found in the folder -> the sentences that refuse it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SCHEMA: Final = 1
SYSTEM: Final = "debian 13"
AGAIN: Final = "run `make bundle` again and copy the whole folder anew"


@dataclass(frozen=True)
class Asked:
    """What the host's configuration needs of the bundle at ``path``: ``models`` is {revision: {file: SHA-256}}."""

    path: str
    release: str
    packages: Sequence[str]
    images: Sequence[str]
    models: Mapping[str, Mapping[str, str]]


def refusals(asked: Asked, found: Mapping[str, Any]) -> list[str]:
    """One sentence per reason not to go on; [] when there is none. ``found``: as ``observe_bundle`` answers."""
    if not found["folder"]:
        return [f"there is no folder {asked.path} on the host (bundle/path): mount its disk, or copy the bundle there"]
    if found["absent"]:
        return [f"{asked.path} is not complete ({', '.join(found['absent'])} is missing): {AGAIN}"]
    if found["signature"]:
        return [
            f"the signature of {asked.path} does not fit the key of bundle/key (apt says: {found['signature']}): "
            "use the key that `make bundle` wrote beside this bundle, if you trust the bundle; set the host's clock"
        ]
    if found["damaged"]:
        return [f"{asked.path} is damaged ({_some(found['damaged'])} is not what was signed): {AGAIN}"]
    manifest = found["manifest"]
    if manifest["schema"] != SCHEMA or manifest["system"] != SYSTEM:
        made_for = f"schema {manifest['schema']}, {manifest['system']}"
        return [f"{asked.path} was made by another version of Tandem ({made_for}): {AGAIN}"]
    if found["missing"]:
        return [f"{asked.path} is not complete ({_some(found['missing'])} is missing or cut short): {AGAIN}"]
    return list(_lacks(asked, manifest))


def _lacks(asked: Asked, manifest: Mapping[str, Any]) -> Iterator[str]:
    releases = ", ".join(manifest["releases"])
    again = f"run `make bundle` again with release {asked.release} and this inventory"
    if absent := [image for image in asked.images if image not in manifest["images"]]:
        yield f"{asked.path} was made for release {releases} and lacks the image {absent[0]}: {again}"
    files = manifest["files"]
    for revision, wanted in asked.models.items():
        places = {f"weights/{revision}/{name}": sha256 for name, sha256 in wanted.items()}
        wrong = [path for path, sha256 in places.items() if files.get(path, {}).get("sha256") != sha256]
        if wrong:
            yield f"{asked.path} was made for release {releases} and lacks {_some(wrong)}: {again}"
    if lacking := [name for name in asked.packages if name not in manifest["packages"]]:
        yield f"{asked.path} lacks the package {_some(lacking)}: {again}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
