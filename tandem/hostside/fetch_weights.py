"""Runs on the host as root, standard library only: brings a model's files and publishes them.

Input: JSON on standard input {"directory", "repository", "revision", "files": {name: {"bytes", "sha256"}},
"sources": [as ``tandem.config.weights`` has them], "parallel_downloads", "stall_timeout_seconds"}; "mounted": true when
DIRECTORY must be a mount.

Files come to DIRECTORY/.incoming-REVISION: NAME.part grows, over runs too, and becomes NAME when its hash is right.
When every one is, one rename publishes them; in a model that is published already, only wrong files are replaced, each
by a rename. Files that another published model has are hard links to it. A file whose hash does not match is kept under
DIRECTORY/quarantine and ends the run with status 1: nothing is published. One run at a time; a dead one leaves no lock.
"""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tandem.domain.weights import FIRST_WAIT_SECONDS, ROOM, Wanted, size, wanted_files
from tandem.hostside.bringing import Bench, Mismatch
from tandem.hostside.download import Net, Stopped, Unavailable
from tandem.hostside.files import sync_directory
from tandem.hostside.lock import LockHeld, lock
from tandem.hostside.model_files import held, record, record_links, recorded, state
from tandem.hostside.model_sources import Source, made
from tandem.hostside.telling import Progress, tell

PATIENCE_SECONDS = 3600
ASK_AGAIN_SECONDS = 15


def wait_for_the_others(stack: ExitStack, directory: str, revision: str) -> None:
    """A run whose operator has gone ends its downloads by itself: wait for it rather than refuse."""
    path, why = Path(directory, ".lock"), f"bring model revision {revision[:12]}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            stack.enter_context(lock(path, "install", why, ASK_AGAIN_SECONDS))
            return
        except LockHeld as error:
            if time.monotonic() > deadline:
                sys.exit(str(error))
            tell(f"waiting: {str(error).partition('. ')[0]}")


def fetch(job: dict[str, Any]) -> None:
    directory, revision = job["directory"], job["revision"]
    files = wanted_files(job["files"])
    if job.get("mounted") and not os.path.ismount(directory):
        sys.exit(
            f"{directory} is not mounted, and model files there would fill the root filesystem; nothing was fetched: "
            "`systemctl status` of its mount unit says why"
        )
    os.makedirs(directory, exist_ok=True)
    with ExitStack() as stack:
        wait_for_the_others(stack, directory, revision)
        published = f"{directory}/{revision}"
        bench = Bench(directory, f"{directory}/.incoming-{revision}", Progress())
        wrong = wrong_files(published, files)
        os.makedirs(bench.incoming, exist_ok=True)
        donors = held(directory)
        missing = [file for file in wrong if not (bench.has(file) or bench.shares(file, donors))]
        record_links(donors)
        require_room(directory, missing, bench)
        bring(job, missing, bench)
        publish(directory, published, bench.incoming, wrong, files)


def wrong_files(published: str, files: list[Wanted]) -> list[Wanted]:
    if not os.path.isdir(published):
        return files
    records = recorded(published)
    return [file for file in files if state(published, file, records.get(file.name)) == "wrong"]


def require_room(directory: str, missing: list[Wanted], bench: Bench) -> None:
    """What is there of a file need not fit again."""
    needed = ROOM * sum(file.bytes - bench.size_of_part(file) for file in missing)
    free = shutil.disk_usage(directory).free
    if needed > free:
        sys.exit(
            f"{directory} has {size(free)} free and {size(needed)} is needed for {len(missing)} files; nothing was "
            "fetched: make room, or let weights.remove_unused remove models that no release uses"
        )


def bring(job: dict[str, Any], missing: list[Wanted], bench: Bench) -> None:
    """Every source is asked for what the ones before it did not have. Ends the program when files are left."""
    net = Net(job["stall_timeout_seconds"], tell, bench.progress.add, job.get("first_wait_seconds", FIRST_WAIT_SECONDS))
    left, said = missing, dict[str, list[str]]()
    bench.start(missing)
    with bench.progress:
        for one in job["sources"] if missing else []:
            source = made(one, job["repository"], job["revision"], net)
            left = [file for file in left if not bench.has_come(file)]
            if left:
                said[f"{one['kind']} {source.label}"] = from_one(source, left, job["parallel_downloads"], bench, net)
        left = [file for file in left if not bench.has_come(file)]
    if left:
        reasons = "\n".join(f"  {label}: {'; '.join(why[:3])}" for label, why in said.items())
        names = ", ".join(file.name for file in left[:3]) + (", ..." if len(left) > 3 else "")
        sys.exit(
            f"no source gave {len(left)} of {len(job['files'])} files of model revision {job['revision']} ({names}):\n"
            f"{reasons}\n"
            "nothing was published, and what came is kept: mend a source (weights.sources), then run this again"
        )


def from_one(source: Source, files: list[Wanted], at_once: int, bench: Bench, net: Net) -> list[str]:
    """Brings what ``source`` has; answers "FILE: why not" for each file that it did not give."""
    try:
        found, refused = source.find(files)
    except Unavailable as error:
        return [str(error)]
    tell(f"{len(found)} of {len(files)} files from {source.label}")
    with ThreadPoolExecutor(source.at_once or at_once) as pool:
        results = [pool.submit(bench.bring, source, file, net) for file in found]
    failures = {file.name: result.exception() for file, result in zip(found, results, strict=True)}
    for failure in failures.values():
        if isinstance(failure, Mismatch):
            sys.exit(str(failure))
    for name, failure in failures.items():
        if isinstance(failure, Unavailable):
            refused[name] = str(failure)
        elif failure and not isinstance(failure, Stopped):
            raise failure
    return [f"{name}: {why}" for name, why in refused.items()]


def publish(directory: str, published: str, incoming: str, names: list[Wanted], files: list[Wanted]) -> None:
    """The record comes with the model, so that a run cut short never leaves one to be hashed again at every run."""
    hashes = {file.name: file.sha256 for file in files}
    for leftover in Path(incoming).rglob("*.part"):
        leftover.unlink()
    if not os.path.isdir(published):
        record(incoming, hashes)
        for folder in {incoming, *(os.path.dirname(f"{incoming}/{name}") for name in hashes)}:
            os.chmod(folder, 0o755)  # noqa: S103 - engines read it as their own user
            sync_directory(folder)
        os.rename(incoming, published)
        tell(f"published {len(files)} files at {published}")
    else:
        for file in names:
            os.makedirs(os.path.dirname(f"{published}/{file.name}"), exist_ok=True)
            os.replace(f"{incoming}/{file.name}", f"{published}/{file.name}")
        shutil.rmtree(incoming)
        record(published, hashes)
    sync_directory(directory)


if __name__ == "__main__":
    try:
        fetch(json.load(sys.stdin))
    except OSError as error:
        sys.exit(
            f"{error.filename or 'model files'}: {error.strerror or error}; nothing was published, and what came is "
            "kept: mend the cause, then run this again"
        )
