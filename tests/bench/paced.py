"""A rehearsal host of its own whose two releases are engines at a fixed pace: what is measured there is the swap.

Two cores that compute two real engines and the load beside them would be most of every figure.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tandem.rehearsal.programs.knobs.settings import Knobs, variables
from tests.bench.load import Mix
from tests.bench.questions import Question, counting
from tests.faults.bad_releases import cases, write

RELEASES: Final = ("a", "b")
FIRST_SECONDS, GAP_SECONDS, TOKENS = 0.03, 0.006, 150
"""Of every answer: 0.93 seconds, so that each move of the traffic meets answers that are under way."""
LIMITS: Final = {"first_token_seconds": 1.0, "total_seconds": 10.0, "token_gap_seconds": 0.25}
MIX: Final = Mix(official_new=1, official_kept=1, raw_thinking=1, http2_streams=2, websockets=2)
PACING: Final = {"weights": [10, 30, 50, 70, 90, 100], "window_seconds": 5, "soak_seconds": 10, "most_extensions": 60}


def questions() -> list[Question]:
    return counting(TOKENS)


@contextmanager
def booted(name: str) -> Iterator[None]:
    """A new host, removed afterwards."""
    host.remove(STATE, name)
    host.create(STATE, name, lambda _sentence: None)
    try:
        host.boot(STATE, name)
        yield
    finally:
        host.remove(STATE, name)


def changes(name: str, folder: Path) -> Mapping[str, Any]:
    """To the inventory's data. The cases are written to ``folder``."""
    data, file = dict(hosts(STATE))[name], folder / "cases.jsonl"
    write(cases(), file)
    images = json.loads((STATE / "images.json").read_text())
    releases = {
        release: {
            "image": images["knobs"],
            "model": data["releases"]["a"]["model"],
            "arguments": {"max-model-len": 16384 + number},
            "environment": variables(Knobs(first_seconds=FIRST_SECONDS, gap_seconds=GAP_SECONDS, seed=number)),
        }
        for number, release in enumerate(RELEASES)
    }
    return {
        "release": RELEASES[0],
        "releases": releases,
        "engine": {"ready_timeout_seconds": 60, "shutdown_timeout_seconds": 10},
        "upgrade": {**PACING, "comparison": {"cases": [str(file)], "pair_seconds": 0.05, "limits": LIMITS}},
    }
