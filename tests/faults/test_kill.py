"""Install killed with kill -9 in the middle of any operation, and run again, ends as if nothing had happened."""

import random

import pytest

from tests.faults.deploying import Ended, Workplace
from tests.faults.fingerprint import differences, fingerprint, shown
from tests.faults.killing import Killed, delay, kill_at

FEWEST_OPERATIONS = 10


def test_install_killed_at_one_operation_after_the_other_ends_as_a_clean_one(
    served: str, anew: str, workplace: Workplace, seed: int
) -> None:
    print(f"TANDEM_SEED={seed}")
    chance, inventory, kills = random.Random(seed), workplace.inventory(anew), list[Killed]()  # noqa: S311
    while isinstance(found := _next(workplace, inventory, kills, delay(chance)), Killed):
        print(found)
        kills.append(found)
    assert found.status == 0, found.output
    assert len(kills) >= FEWEST_OPERATIONS
    again = workplace.run(inventory, "deploys/install.py")
    assert (again.status, again.changed) == (0, []), again.output
    lines = differences(fingerprint(served), fingerprint(anew))
    assert not lines, shown(lines)


def _next(workplace: Workplace, inventory: str, kills: list[Killed], delay_seconds: float) -> Killed | Ended:
    done = {kill.operation for kill in kills}
    found = kill_at(workplace, inventory, lambda name: name not in done, delay_seconds)
    if isinstance(found, Ended) and found.status:
        pytest.fail(f"after {len(kills)} kills, the last at {kills[-1] if kills else None}:\n{found.output}")
    return found
