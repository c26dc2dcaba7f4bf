"""Model files, verified by size and SHA-256."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import host_program
from tandem.domain.weights import size, unused
from tandem.facts.weights import ModelFolders, WeightsState
from tandem.operations.live import Commands, LiveCommand


@operation()
def publish(
    directory: str,
    models: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    parallel_downloads: int = 4,
    stall_timeout_seconds: int = 60,
    mounted: bool = False,
) -> Commands:
    """Publishes models whose every file has the declared size and SHA-256; repairs files that were changed.

    + directory: where models are kept, one folder per revision
    + models: {revision: {"repository": OWNER/NAME, "files": {file: {"bytes", "sha256"}}}}
    + sources: tried in this order for files that are missing, as ``tandem.config.weights`` dumps them
    + mounted: refuse a directory that is not a mount
    """
    files = {revision: dict(model["files"]) for revision, model in models.items()}
    seen = host.get_fact(WeightsState, question={"directory": directory, "models": files})
    left = {revision: found for revision, found in seen.items() if found["wrong"] or found["unrecorded"]}
    if not left:
        host.noop(f"all {sum(map(len, files.values()))} model files are published and unchanged")
    for revision, found in left.items():
        journal.note(host, f"{_done(found)} files of model revision {revision[:12]}")
        job = {
            "directory": directory,
            "repository": models[revision]["repository"],
            "revision": revision,
            "files": files[revision],
            "sources": [dict(source) for source in sources],
            "parallel_downloads": parallel_downloads,
            "stall_timeout_seconds": stall_timeout_seconds,
            "mounted": mounted,
        }
        yield LiveCommand(host_program("fetch_weights"), _stdin=json.dumps(job))


def _done(found: Mapping[str, Any]) -> str:
    if not found["published"]:
        return f"published {len(found['wrong'])}"
    return f"repaired {len(found['wrong'])}" if found["wrong"] else f"recorded {len(found['unrecorded'])} unchanged"


@operation()
def remove_unused(
    directory: str, declared: Collection[str], undeclared: Sequence[str] = (), consent: bool = False
) -> Commands:
    """Removes models that no declared release uses; never one that a unit or a running process uses.

    + declared: revisions of all declared releases
    + undeclared: releases on the host's record that the configuration does not have
    + consent: without it, only how much could be freed is said
    """
    seen = host.get_fact(ModelFolders, question={"directory": directory})
    found = unused(seen["folders"], declared, seen["mounted"], undeclared)
    if found.folders and not consent:
        journal.remark(
            host,
            f"{size(found.bytes)} in {directory} are of models that no declared release uses "
            f"({', '.join(found.folders)}); weights.remove_unused = True removes them",
        )
    if found.why_none and consent:
        journal.remark(host, f"no unused model was removed: {found.why_none}")
    if not found.folders or not consent:
        host.noop(found.why_none or (f"{len(found.folders)} are kept" if found.folders else "every model is in use"))
        return
    for name, count in found.folders.items():
        journal.note(host, f"removed the unused model {name} ({size(count)})")
    yield LiveCommand(host_program("remove_weights", {"directory": directory, "folders": list(found.folders)}))
