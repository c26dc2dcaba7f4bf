"""Two engines with knobs as processes of this machine, compared as a rollout compares releases: no host, no users."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from tandem.domain.case_turns import Turns
from tandem.domain.cases import Case, compiled, from_document
from tandem.domain.judge import INCONCLUSIVE, Verdict, judge
from tandem.domain.paired import Traffic
from tandem.domain.window import window
from tandem.hostside.ask_case import ask_case, sample
from tandem.rehearsal.knobs import PROGRAM
from tandem.rehearsal.programs.knobs.settings import Knobs, variables
from tests.faults import bad_releases

KEY: Final = "sk-of-the-engine"
MODEL: Final = "gpt-oss-20b"
COMMAND: Final = (sys.executable, "-m", PROGRAM, "/model", "--host", "127.0.0.1", "--served-model-name", MODEL,
                  "--enable-auto-tool-choice", "--tool-call-parser", "openai", "--disable-uvicorn-access-log",
                  "--shutdown-timeout", "20")  # fmt: skip
LONGEST_ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Tried:
    verdict: Verdict
    pairs: int


@contextmanager
def started(knobs: Knobs, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """The process, which may not listen yet. Its first line names its port."""
    environment = {**os.environ, **variables(knobs), "VLLM_API_KEY": KEY}
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def listening(knobs: Knobs) -> Iterator[int]:
    """The port of an engine that listens."""
    with started(knobs) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])


def known(cases: Sequence[Any]) -> tuple[Case, ...]:
    """As the host reads them."""
    return from_document(compiled([case.record() for case in cases]))


def tried(old: int, new: int, seed: int, most_pairs: int) -> Tried:
    """Pairs until the judge has a verdict, at most so many."""
    cases = known(bad_releases.cases())
    turns, chance, records = Turns(cases, f"{seed}"), random.Random(seed), list[dict[str, Any]]()  # noqa: S311
    verdict = judge(window([], Traffic(), Traffic(), 0))
    while len(records) < most_pairs and verdict.outcome == INCONCLUSIVE:
        case = turns.next(frozenset())
        assert case is not None
        ports = {"old": old, "new": new}
        found = {
            side: sample(case, ask_case(case, ports[side], MODEL, KEY, LONGEST_ANSWER_SECONDS))
            for side in chance.sample(sorted(ports), 2)
        }
        record = {"case": case.name, "critical": case.critical, "graded": True, "busy": [0, 0]}
        records.append({**record, **{side: asdict(one) for side, one in found.items()}})
        turns.count(records[-1])
        verdict = judge(window(records, Traffic(), Traffic(), 0))
    return Tried(verdict, len(records))
