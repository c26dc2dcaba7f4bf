"""One managed thing changed by hand: the next run repairs exactly that one, and restarts nothing that still runs."""

import random

from tests.faults.deploying import Workplace
from tests.faults.drifting import repair, sample
from tests.faults.fingerprint import fingerprint, shown


def test_what_was_changed_by_hand_is_repaired_and_nothing_else(served: str, workplace: Workplace, seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    clean = workplace.install(served)
    assert (clean.status, clean.changed) == (0, []), clean.output
    before, wrong = fingerprint(served), list[str]()
    for drift in sample(served, random.Random(seed)):  # noqa: S311
        found = repair(served, drift, workplace, before)
        print(f"{'not ' if found else ''}repaired: {drift}")
        wrong += found
    again = workplace.install(served)
    assert not wrong, shown(wrong)
    assert (again.status, again.changed) == (0, []), again.output
