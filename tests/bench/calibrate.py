"""How often the judge fails, passes and leaves undecided a release that is compared with itself.

    python -m tests.bench.calibrate record gpu1 aa.jsonl     pairs of two engines of the release that a host serves
    python -m tests.bench.calibrate record local aa.jsonl    the same with two engines at a fixed pace on this machine
    python -m tests.bench.calibrate judge aa.jsonl           windows drawn from them: at most 1 % may fail

Exit status 1: more windows failed.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tandem.domain.advance import Comparison
from tandem.domain.judge import FAIL, INCONCLUSIVE, PASS, Rules
from tandem.domain.paired import TIMES
from tandem.domain.window import rules
from tests.bench.recording import How, local, on_host
from tests.bench.report import Report
from tests.bench.windows import Outcomes, Recorded, Users, exchanged

WINDOWS: Final = 10_000
CHUNK: Final = 250
LEAST_PAIRS: Final = 1000
GOAL_PERCENT: Final = 1.0
LIMITS: Final = {"first_token_seconds": 10.0, "total_seconds": 60.0, "token_gap_seconds": 1.0}
"""Those of the rehearsal's inventory: its engines compute on slow cores."""
USERS: Final = (Users(), Users(2.0, 0.003))
"""Nobody but the probes; and two requests of users for each pair, of which 0.3 % fail on either side."""
REPEATS: Final = 5
"""Everything but the first size, as recorded and without users, is tried with so many times fewer windows."""


@dataclass(frozen=True)
class Cell:
    """What one row of the table says: windows of so many pairs at one weight."""

    recorded: Recorded
    pairs: int
    users: Users
    exchanged: bool

    @property
    def name(self) -> str:
        users = f", users ({self.users.failing:.1%} fail)" if self.users.per_pair else ""
        return f"{self.recorded.weight} %, {self.pairs} pairs{', sides exchanged' if self.exchanged else ''}{users}"


def read(files: Sequence[Path]) -> dict[int, list[dict[str, Any]]]:
    """Samples by weight, from files of ``record``; what was asked without an old side is left out."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for file in files:
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            if sample.get("old") is not None and sample.get("new") is not None:
                found[int(sample["weight"])].append(sample)
    return dict(sorted(found.items()))


def cells(samples: Mapping[int, Sequence[Mapping[str, Any]]], sizes: Sequence[int]) -> list[Cell]:
    found = []
    for weight, pairs in samples.items():
        for size in sizes:
            found += [Cell(Recorded(pairs, weight), size, users, False) for users in USERS]
            found.append(Cell(Recorded(exchanged(pairs), weight), size, Users(), True))
    return found


def judged(cell: Cell, windows: int, asked: Rules, pool: ProcessPoolExecutor) -> Outcomes:
    """Of ``windows`` windows, worked out by all processes."""
    sizes = [min(CHUNK, windows - start) for start in range(0, windows, CHUNK)]
    parts = [
        pool.submit(cell.recorded.outcomes, size, cell.pairs, asked, cell.users, f"{cell.name} {number}")
        for number, size in enumerate(sizes)
    ]
    found = Outcomes()
    for part in parts:
        found.join(part.result())
    return found


def describe(samples: Mapping[int, Sequence[Mapping[str, Any]]], report: Report) -> None:
    """What was recorded: how much, how noisy, and what one side does better."""
    report.section(
        "Recorded: pairs, cases, wrong or failed answers (old, new), equal load; new to old (typical, noise)"
    )
    for weight, pairs in samples.items():
        wrong = [sum(bool(one[side]["error"] or one[side]["failed"]) for one in pairs) for side in ("old", "new")]
        cases = len({one["case"] for one in pairs})
        equal = "equal" if Recorded(pairs, weight).seen().equal_load else "limits"
        report.row(f"{weight} %", f"{len(pairs)}, {cases}, {wrong[0]} and {wrong[1]}, {equal}")
        for name in TIMES:
            logs = [
                math.log(one["new"][name] / one["old"][name]) for one in pairs if one["new"][name] and one["old"][name]
            ]
            if len(logs) > 1:
                figure = f"{math.exp(statistics.median(logs)):.3f}, sigma {statistics.stdev(logs):.3f}"
                report.row(f"{weight} %: {TIMES[name]}", figure)


def calibrate(files: Sequence[Path], windows: int, sizes: Sequence[int], asked: Rules, report: Report) -> None:
    samples = read(files)
    total = sum(map(len, samples.values()))
    describe(samples, report)
    if total < LEAST_PAIRS:
        report.failed("recorded pairs", [f"{total}, and {LEAST_PAIRS} are the least"])
    report.section(f"{windows} windows each, of variants {windows // REPEATS}: fail, pass, inconclusive")
    over = Outcomes()
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for cell in cells(samples, sizes):
            first = cell.pairs == sizes[0] and not cell.exchanged and not cell.users.per_pair
            found = judged(cell, windows if first else max(1, windows // REPEATS), asked, pool)
            over.join(found)
            shares = ", ".join(f"{found.share(outcome):.2%}" for outcome in (FAIL, PASS, INCONCLUSIVE))
            report.row(cell.name, shares, f"fail at most {GOAL_PERCENT:g} %")
            for reason, times in found.reasons.most_common(2):
                report.row(f"    {reason}", f"{times / found.windows:.2%}")
            if 100 * found.share(FAIL) > GOAL_PERCENT:
                report.failed(cell.name, [f"{found.share(FAIL):.2%} fail"])
    report.row("all", f"{over.share(FAIL):.3%} of {over.windows} fail, {over.early} early")
    report.row("seconds for 1000 windows", f"{1000 * (time.monotonic() - began) / max(1, over.windows):.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description="How often the judge is wrong about a release beside itself.")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="take pairs of two engines of the same release")
    record.add_argument("host", help="a rehearsal host, or: local")
    record.add_argument("output", type=Path)
    record.add_argument("--weights", type=int, nargs="+", default=[0, 10, 30, 50, 70, 90, 100])
    record.add_argument("--pairs", type=int, default=200, help="for each weight")
    record.add_argument("--users", type=int, default=4)
    record.add_argument("--think-seconds", type=float, default=2.0)
    record.add_argument("--pair-seconds", type=float, default=0.1)
    record.add_argument("--seconds", type=float, default=2 * 3600.0, help="at most")
    judging = commands.add_parser("judge", help="draw windows and judge them")
    judging.add_argument("files", type=Path, nargs="+")
    judging.add_argument("--windows", type=int, default=WINDOWS)
    judging.add_argument("--pairs", type=int, nargs="+", default=[65, 200], help="sizes of windows")
    judging.add_argument("--limits", type=json.loads, default=LIMITS, help="JSON: seconds by time")
    given = parser.parse_args()
    if given.command == "record":
        how = How(given.weights, given.pairs, given.users, given.think_seconds, given.pair_seconds, given.seconds)
        (local if given.host == "local" else partial(on_host, given.host))(how, given.output)
        return 0
    report = Report()
    asked = rules(Comparison(limits_seconds=given.limits))
    calibrate(given.files, given.windows, given.pairs, asked, report)
    for failure in report.failures:
        print(f"  FAIL  {failure}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
