"""Windows drawn from recorded pairs: what fails them, and that nothing that could is overlooked."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tandem.domain.judge import FAIL, PASS, Rules, judge
from tandem.domain.paired import Traffic
from tandem.domain.window import window
from tests.bench.windows import Outcomes, Recorded, Users, exchanged, slow

RULES = Rules(limits_seconds={"first_token_seconds": 1.0, "total_seconds": 5.0, "token_gap_seconds": 0.5})


NOBODY = Users()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable


def answer(factor: float, chance: random.Random, **more: Any) -> dict[str, Any]:
    noise = chance.lognormvariate(0, 0.2)
    times = {"first_token_seconds": 0.1, "total_seconds": 1.0, "token_gap_seconds": 0.05}
    return {**{name: value * factor * noise for name, value in times.items()}, "error": None, "failed": [], **more}


def samples(count: int = 300, slower: float = 1.0, errors: float = 0.0, wrong: int = 0) -> list[dict[str, Any]]:
    """Of 30 cases; the new side is ``slower``, fails so often, and answers the first ``wrong`` cases wrong."""
    chance = seeded(7)
    found = []
    for number in range(count):
        case = number % 30
        new = answer(slower, chance, failed=["no"] if case < wrong else [])
        if chance.random() < errors:
            new = {**dict.fromkeys(new), "error": "status 500", "failed": []}
        found.append(
            {
                "case": f"c{case}",
                "critical": False,
                "graded": True,
                "busy": [0, 0],
                "old": answer(1, chance),
                "new": new,
            }
        )
    return found


def outcomes(taken: Sequence[Mapping[str, Any]], windows: int = 20, users: Users = NOBODY) -> Outcomes:
    return Recorded(taken, 50).outcomes(windows, 80, RULES, users, "seed")


def test_a_release_beside_itself_passes() -> None:
    found = outcomes(samples())
    assert (found.windows, found.counts[FAIL], found.early) == (20, 0, 0)
    assert found.share(PASS) > 0.9


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"slower": 1.6}, "fail: first_token_seconds, token_gap_seconds, total_seconds"),
        ({"errors": 0.4}, "fail: errors"),
        ({"wrong": 12}, "fail: answers"),
    ],
)
def test_a_worse_release_fails_before_the_window_is_full_and_the_reason_is_kept(bad: dict[str, Any], why: str) -> None:
    found = outcomes(samples(**bad))
    assert found.share(FAIL) > 0.9
    assert found.early >= 0.9 * found.counts[FAIL]
    assert found.reasons.most_common(1)[0][0].startswith(why.split(",")[0])


def test_exchanged_sides_make_the_better_one_the_worse() -> None:
    slower = samples(slower=1.6)
    assert outcomes(slower).share(FAIL) > 0.9
    assert outcomes(exchanged(slower)).share(FAIL) == 0
    assert exchanged(exchanged(slower)) == slower


def test_failures_of_users_count() -> None:
    assert outcomes(samples(), windows=5, users=Users(2.0, 0.3)).share(PASS) == 0
    assert outcomes(samples(), windows=5, users=Users(2.0, 0.0)).share(PASS) == 1


@pytest.mark.parametrize(("errors", "slower", "wrong"), [(0.02, 1.0, 0), (0.05, 1.15, 3), (0.0, 1.22, 6), (0.1, 1, 8)])
def test_no_fail_is_overlooked_where_the_judge_is_not_asked(errors: float, slower: float, wrong: int) -> None:
    """Beside a judge that is asked after every pair; times are looked at when the window has grown by a twentieth."""
    recorded = Recorded(samples(slower=slower, errors=errors, wrong=wrong), 50)
    for number in range(3):
        ours, _ = recorded.one(80, RULES, Users(), seeded(number))
        taken: list[Mapping[str, Any]] = []
        first = None
        for sample in recorded.filled(80, seeded(number)):
            taken.append(sample)
            timely = slow(window(taken, Traffic(), Traffic(), 50), RULES)
            verdict = judge(window(taken, Traffic(), Traffic(), 50), RULES if timely else replace(RULES, times=()))
            if verdict.outcome == FAIL:
                first = verdict
                break
        if first is not None and {one.metric for one in first.results if one.outcome == FAIL} & {"errors", "answers"}:
            assert ours.outcome == FAIL
        if first is None:
            assert ours.outcome != FAIL


def test_slow_is_never_false_for_a_window_that_fails_by_its_times() -> None:
    failing = 0
    for number in range(60):
        taken = samples(60, slower=1 + number / 60)
        seen = window(taken[number % 7 :], Traffic(), Traffic(), 50)
        failed = {one.metric for one in judge(seen, RULES).results if one.outcome == FAIL} & set(RULES.times)
        failing += bool(failed)
        assert slow(seen, RULES) or not failed
    assert 5 < failing < 60


def test_a_window_is_filled_as_the_prober_goes_through_its_cases() -> None:
    filled = [one["case"] for one in Recorded(samples(), 50).filled(90, seeded(3))]
    assert sorted(filled[:30]) == sorted(filled[30:60]) == sorted({f"c{case}" for case in range(30)})
