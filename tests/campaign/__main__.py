"""`make campaign`: the long matrices, hours of them. Results go to docs/results/, one file per part.

kill: install killed with kill -9 in each operation, each time from a fresh host, with several seeds; then run again and
compared with a clean install. drift: each managed thing changed by hand in each way, one install after each.
driver: Debian's own driver packages, a real compilation that fails and one that succeeds.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tandem.rehearsal import host, saves
from tandem.rehearsal.inventory import STATE
from tests.campaign.driver import driver
from tests.campaign.report import Case, Report
from tests.faults.conftest import SERVED, SPARE
from tests.faults.deploying import Ended, Workplace
from tests.faults.drifting import drifts, repair
from tests.faults.fingerprint import Fingerprint, differences, fingerprint
from tests.faults.killing import Killed, kill_at

SAVE = "campaign-fresh"


def kill(workplace: Workplace, seeds: list[int], only: str) -> Iterator[Case]:
    """Each operation with each seed; the moment of the kill is by chance within the operation's usual time."""
    host.remove(STATE, SPARE)
    host.create(STATE, SPARE)
    host.boot(STATE, SPARE)
    try:
        saves.save(STATE, SPARE, SAVE)
        saves.start_from(STATE, SPARE, SAVE)
        clean = workplace.install(SPARE)
        if clean.status:
            raise RuntimeError(f"the clean install failed:\n{clean.output}")
        wanted = fingerprint(SPARE)
        for seed in seeds:
            for operation, seconds in clean.seconds_of_operations():
                if only in operation:
                    chance = random.Random(f"{seed}/{operation}")  # noqa: S311
                    yield _kill_once(workplace, operation, chance.uniform(0, seconds), seed, wanted)
    finally:
        host.remove(STATE, SPARE)


def _kill_once(workplace: Workplace, operation: str, delay_seconds: float, seed: int, wanted: Fingerprint) -> Case:
    began = time.monotonic()
    saves.start_from(STATE, SPARE, SAVE)
    killed = kill_at(workplace, workplace.inventory(SPARE), lambda name: name == operation, delay_seconds)
    name = f"{operation}, seed {seed}"
    if isinstance(killed, Ended):
        return Case(name, time.monotonic() - began, ["ended before it could be killed", killed.output])
    again = workplace.install(SPARE)
    wrong = [f"exit status {again.status}", again.output] if again.status else differences(wanted, fingerprint(SPARE))
    return Case(f"{name}: {_moment(killed)}", time.monotonic() - began, wrong)


def _moment(killed: Killed) -> str:
    return f"{'inside' if killed.inside else 'at the end'}, after {killed.delay_seconds:.3f} s"


def drift(workplace: Workplace, _seeds: list[int], only: str) -> Iterator[Case]:
    """Every drift on the host that `make rehearse` installed."""
    host.boot(STATE, SERVED)
    workplace.install(SERVED)
    clean = workplace.install(SERVED)
    if clean.status or clean.changed:
        raise RuntimeError(f"a second install of {SERVED} is not without a change:\n{clean.output}")
    before = fingerprint(SERVED)
    for one in drifts(SERVED):
        if only in str(one):
            began = time.monotonic()
            wrong = repair(SERVED, one, workplace, before)
            yield Case(str(one), time.monotonic() - began, wrong)


PARTS = {"kill": kill, "drift": drift, "driver": driver}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(PARTS)}; all if none is named")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--first-seed", type=int, default=int(os.environ.get("TANDEM_SEED", "1")))
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases that have this text in their name")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    seeds = list(range(given.first_seed, given.first_seed + given.seeds))
    failed = 0
    for part in given.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="tandem-campaign-") as folder:
            report = Report(part, f"seeds {seeds[0]} to {seeds[-1]}")
            for case in PARTS[part](Workplace(Path(folder) / "work"), seeds, given.only):
                report.add(case)
            failed += report.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
