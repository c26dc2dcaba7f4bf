"""Model files, verified by SHA-256."""

import json
from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import host_program
from tandem.facts.weights import WeightsState
from tandem.operations.live import Commands, LiveCommand


@operation()
def publish(directory: str, models: Mapping[str, Mapping[str, str]], sources: Sequence[str]) -> Commands:
    """Publishes models whose every file has the declared SHA-256; repairs files that were changed.

    + directory: where models are kept, one folder per revision
    + models: {revision: {file: SHA-256}}
    + sources: folders on the host, tried in this order
    """
    asked = {"directory": directory, "models": {revision: dict(files) for revision, files in models.items()}}
    seen = host.get_fact(WeightsState, question=asked)
    wrong = {revision: state["wrong"] for revision, state in seen.items() if state["wrong"]}
    if not wrong:
        host.noop(f"all {sum(map(len, models.values()))} model files are published and unchanged")
    for revision, names in wrong.items():
        verb = "repaired" if seen[revision]["published"] else "published"
        journal.note(host, f"{verb} {len(names)} files of model revision {revision[:12]}")
        job = {"directory": directory, "revision": revision, "files": dict(models[revision]), "sources": list(sources)}
        yield LiveCommand(host_program("fetch_weights"), _stdin=json.dumps(job))
