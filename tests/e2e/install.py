"""Runs `pyinfra inventories/rehearsal.py DEPLOY` on one rehearsal host and reads the run's own record."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "deploys/install.py"


@dataclass(frozen=True)
class Ended:
    """``events``: the run record; ``wall_seconds``: of the whole process, with starting Python and connecting."""

    status: int
    output: str
    events: list[dict[str, Any]]
    wall_seconds: float

    @property
    def end(self) -> dict[str, Any]:
        """The last event: what changed and what it cost."""
        return self.events[-1]


def run(deploy: str, name: str, *words: str) -> Ended:
    """One run of a deploy file that starts the journal. Raises RuntimeError when it left no record of its own."""
    before, began = set((ROOT / "runs").glob("*.jsonl")), time.monotonic()
    command = [
        str(Path(sys.executable).with_name("pyinfra")),
        "-y",
        "inventories/rehearsal.py",
        deploy,
        "--limit",
        name,
        *words,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    seconds, output = time.monotonic() - began, done.stdout + done.stderr
    # Other runs, of other hosts, may go on at the same time.
    for path in sorted(set((ROOT / "runs").glob("*.jsonl")) - before):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        if events[0]["hosts"] == [name] and events[-1]["event"] == "end":
            return Ended(done.returncode, output, events, seconds)
    raise RuntimeError(f"no run record of {deploy} on {name}; it said:\n{output}")


def install(name: str) -> Ended:
    return run(INSTALL, name)
