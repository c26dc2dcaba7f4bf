"""The weights: brought and verified by the program that also runs on the host."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.bundling.running import LEASHED
from tandem.commands import program_source
from tandem.config.weights import ArchiveSource, FolderSource, WeightsConfig


def sources(config: WeightsConfig, local: Sequence[Path]) -> list[dict[str, Any]]:
    """Folders of this machine first, then the configured places on the network; what is on the host is left out."""
    folders = [FolderSource(kind="folder", path=str(path)).model_dump() for path in local]
    network = [one.model_dump() for one in config.sources if not isinstance(one, FolderSource | ArchiveSource)]
    return [*folders, *network]


def missing(models: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """{REVISION/FILE: bytes} of the files that are not there in their size."""
    return {
        f"{revision}/{name}": file["bytes"]
        for revision, manifest in models.items()
        for name, file in manifest["files"].items()
        if not _has(folder / revision / name, file["bytes"])
    }


def _has(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def bring(models: Mapping[str, Any], folder: Path, places: list[dict[str, Any]], config: WeightsConfig) -> None:
    """Publishes FOLDER/REVISION for every model; an interrupted download goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    for revision, manifest in models.items():
        job = {
            "directory": str(folder),
            "revision": revision,
            "repository": manifest["repository"],
            "files": manifest["files"],
            "sources": places,
            "parallel_downloads": config.parallel_downloads,
            "stall_timeout_seconds": config.stall_timeout_seconds,
        }
        command = [*LEASHED, sys.executable, "-I", "-c", program_source("fetch_weights")]
        done = subprocess.run(command, input=json.dumps(job), text=True, check=False)
        if done.returncode:
            raise BundleError(f"the weights {manifest['repository']} {revision[:12]} did not come; see above")


def wrong(models: Mapping[str, Any], folder: Path, hashes: Hashes) -> list[str]:
    """REVISION/FILE of every file whose content is not the manifest's."""
    return [
        f"{revision}/{name}"
        for revision, manifest in models.items()
        for name, file in manifest["files"].items()
        if not (folder / revision / name).is_file() or hashes.sha256(folder / revision / name) != file["sha256"]
    ]
