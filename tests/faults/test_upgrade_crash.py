"""The guard and tandemctl killed at their system calls: users notice nothing, and it ends as it would have.

``make test`` takes kills by chance, the campaign (TANDEM_CAMPAIGN=1) one run for each call of a whole upgrade.
"""

import os
import random
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.local_host import PACING, LocalHost, local_host
from tests.faults.local_kills import (
    FINISHED,
    UNDONE,
    Kill,
    Witness,
    counted,
    every,
    exposed,
    settled,
    some,
    traced,
    users,
)
from tests.faults.sampling import WHOLE

GUARD_KILLS: Final = 12
OVER_SECONDS: Final = 240.0
DRAWN: Final = {"rename": 12, "fsync": 20, "write": 20, "pwrite64": 12, "ftruncate": 12, "vfork": 25, "mkdir": 4}
"""Calls that a guard makes at every look or nearly so, and how many of them it may live through."""

IN_A_ROLLBACK: Final = {"rename": 3, "fsync": 10, "write": 8, "vfork": 4, "pwrite64": 2}


def test_a_guard_killed_again_and_again_ends_the_upgrade_and_no_request_fails(tmp_path: Path, seed: int) -> None:
    """Each guard that is started again is killed as well, somewhere."""
    print(f"TANDEM_SEED={seed}")
    chance, kills = random.Random(seed), list[Kill]()  # noqa: S311
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        assert host.begin().status == 0
        until = time.monotonic() + OVER_SECONDS
        while not host.over():
            assert time.monotonic() < until, host.told()
            if not kills or host.guard_died():
                _kill_next(host, kills, chance)
            time.sleep(0.02)
        host.kill_guard()
        host.start_guard()
        settled(host, FINISHED)
        print(f"{len(kills)} guards were killed at {', '.join(map(str, kills))}; {seen.users.answered} answers")
        assert seen.wrong(len(kills) + 1) == []
    assert len(kills) >= 3


def _kill_next(host: LocalHost, kills: list[Kill], chance: random.Random) -> None:
    host.kill_guard()
    if len(kills) >= GUARD_KILLS:
        host.start_guard()
        return
    call = chance.choice(sorted(DRAWN))
    kills.append(Kill(call, chance.randint(1, DRAWN[call])))
    host.start_guard(traced(host.folder / "trace", kills[-1]))


def test_orders_killed_at_a_call_and_given_again_do_what_they_would_have_done(tmp_path: Path, seed: int) -> None:
    """``upgrade begin`` and ``rollback``, each killed at a call, then run again."""
    print(f"TANDEM_SEED={seed}")
    chance, trace = random.Random(seed), tmp_path / "trace"  # noqa: S311
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        assert host.begin(prefix=traced(trace)).status == 0
        begins = every(counted(trace))
        assert host.tandemctl("rollback", prefix=traced(trace)).status == 0
        backs = every(counted(trace))
        settled(host, UNDONE)
        print(f"begin makes {len(begins)} calls, rollback {len(backs)}")
        chosen = [(begins[n % len(begins)], backs[n % len(backs)]) for n in range(max(len(begins), len(backs)))]
        if not WHOLE:
            chosen = list(zip(some(begins, 5, chance), some(backs, 5, chance), strict=True))
        kills = 0
        for begin, back in chosen:
            kills += _begin_and_back(host, begin, back)
            assert seen.wrong(kills) == [], f"begin killed at {begin}, rollback at {back}"
        print(f"{kills} of {2 * len(chosen)} orders were killed; {seen.users.answered} answers")
    assert kills >= len(chosen)


def _begin_and_back(host: LocalHost, begin: Kill, back: Kill) -> int:
    """How many were killed."""
    trace = host.folder / "trace"
    first = host.begin(prefix=traced(trace, begin))
    again = host.begin()
    # What was on record before the kill is refused the second time, and goes on.
    assert again.status == 0 or "a rollout to b is under way" in again.error, (begin, first, again)
    assert host.state().rollout is not None
    undone = host.tandemctl("rollback", prefix=traced(trace, back))
    again = host.tandemctl("rollback")
    assert again.status == 0, (back, undone, again)
    settled(host, UNDONE, 60)
    return [first.status, undone.status].count(-9)


def test_a_rollback_killed_while_both_are_asked_is_ended_by_the_next_one_or_by_the_guard(
    tmp_path: Path, seed: int
) -> None:
    """From 50 %: it also has the router take another split."""
    print(f"TANDEM_SEED={seed}")
    chance, trace, kills = random.Random(seed), tmp_path / "trace", 0  # noqa: S311
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        chosen = [Kill(call, chance.randint(1, most)) for call, most in sorted(IN_A_ROLLBACK.items())]
        if WHOLE:
            _at_half(host)
            assert host.tandemctl("rollback", prefix=traced(trace)).status == 0
            chosen = every(counted(trace))
            settled(host, UNDONE, 60)
        for number, kill in enumerate(chosen if WHOLE else chance.sample(chosen, 2)):
            _at_half(host)
            killed = host.tandemctl("rollback", prefix=traced(trace, kill)).status == -9
            kills += killed
            recorded = host.state().phase != "shifting"
            print(f"{kill}: {'killed' if killed else 'not reached'}, {'on record' if recorded else 'not begun'}")
            if number % 2 or not recorded:
                assert host.tandemctl("rollback").status == 0
            settled(host, UNDONE, 60)
            assert seen.wrong(kills) == [], kill


def _at_half(host: LocalHost) -> None:
    assert host.begin(pacing={**PACING, "window_seconds": 600.0}).status == 0
    exposed(host)


@pytest.mark.skipif(not WHOLE, reason="the campaign: a whole upgrade for each call")
def test_a_guard_killed_at_each_call_of_a_whole_upgrade(tmp_path: Path) -> None:
    with local_host(tmp_path / "counted") as host:
        host.kill_guard()
        host.start_guard(traced(tmp_path / "trace"))
        assert host.begin().status == 0
        host.until(host.over, OVER_SECONDS)
    counts = counted(tmp_path / "trace")
    kills, part = every(counts), os.environ.get("TANDEM_PART", "0/1").split("/")
    print(f"{len(kills)} calls in a whole upgrade: {dict(counts)}")
    failed = []
    for number, kill in enumerate(kills):
        if number % int(part[1]) == int(part[0]):
            failed += _one_kill(tmp_path / str(number), kill)
    assert failed == []


def _one_kill(folder: Path, kill: Kill) -> list[str]:
    with local_host(folder) as host, Witness(host, users()) as seen:
        host.kill_guard()
        host.start_guard(traced(host.folder / "trace", kill))
        assert host.begin().status in (0, 1)
        host.until(host.over, OVER_SECONDS, guarded=True)
        settled(host, FINISHED)
        wrong = [f"{kill}: {one}" for one in seen.wrong(2)]
    print(f"{kill}: {wrong or 'as it would have been'}", flush=True)
    return wrong
