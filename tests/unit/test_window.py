"""From samples to the judge's window, and whose turn it is."""

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from tandem.domain.advance import Comparison
from tandem.domain.case_turns import Turns
from tandem.domain.cases import Case, Message
from tandem.domain.judge import INCONCLUSIVE, PASS, Rules, judge
from tandem.domain.paired import Sample, Traffic
from tandem.domain.window import alone, rules, window

GOOD = Sample(0.1, 1.0, 0.01)


def pair(
    case: str = "c", old: Sample | None = GOOD, new: Sample | None = GOOD, busy: object = (0, 0), **more: Any
) -> dict[str, Any]:
    sides = {"old": asdict(old) if old else None, "new": asdict(new) if new else None}
    return (
        {"step": 1, "boot_seconds": 1.0, "case": case, "critical": False, "graded": True, "busy": busy} | sides | more
    )


def equal_load(samples: list[dict[str, Any]], weight: int = 10) -> bool:
    return window(samples, Traffic(), Traffic(), weight).equal_load


def test_a_pair_is_what_its_line_says() -> None:
    bad = Sample(error="cut")
    wrong = Sample(0.2, 2.0, 0.02, failed=("answer 1 is wrong",))
    found = window([pair("a", bad, wrong, critical=True), pair("b", graded=False)], Traffic(9, 1), Traffic(5, 0), 10)
    assert (found.old, found.new) == (Traffic(9, 1), Traffic(5, 0))
    first, second = found.pairs
    assert (first.case, first.old, first.new, first.critical, first.graded) == ("a", bad, wrong, True, True)
    assert (second.critical, second.graded) == (False, False)


def test_the_load_is_equal_at_half_and_half_or_when_nearly_every_pair_found_both_idle() -> None:
    idle, busy = pair(), pair(busy=[0, 1])
    assert equal_load([busy] * 10, weight=50)
    assert not equal_load([busy] * 10, weight=49)
    assert not equal_load([busy] * 10, weight=90)
    assert equal_load([idle] * 9 + [busy])
    assert not equal_load([idle] * 8 + [busy] * 2)
    assert not equal_load([])


def test_few_people_who_all_have_the_new_release_are_no_equal_load() -> None:
    """Two people at half and half, whose conversations both went to it: it is slower because it alone has work."""
    slower = Sample(0.14, 1.4, 0.014)
    samples = [pair(f"case-{number % 10}", new=slower, busy=[0, 2]) for number in range(60)]
    limits = Rules(limits_seconds={"first_token_seconds": 5.0, "total_seconds": 60.0, "token_gap_seconds": 0.25})
    assert judge(window(samples, Traffic(0), Traffic(40), 50), limits).outcome == PASS
    assert not window(samples, Traffic(10), Traffic(40), 50).equal_load
    assert window(samples, Traffic(30), Traffic(40), 50).equal_load
    assert window(samples, Traffic(40), Traffic(10), 50).equal_load


@pytest.mark.parametrize("busy", [None, [0], [None, 0], [0, None], [False, False], ["0", "0"], {}, "00"])
def test_what_is_not_known_to_be_idle_is_not(busy: object) -> None:
    assert not equal_load([pair(busy=busy)])


def test_what_the_new_release_alone_was_asked_is_no_pair_but_counts() -> None:
    samples = [
        pair(),
        pair(old=None),
        pair(old=None, new=Sample(error="timeout")),
        pair(old=None, new=Sample(failed=("wrong",))),
    ]
    assert len(window(samples, Traffic(), Traffic(), 100).pairs) == 1
    assert alone(samples) == Traffic(3, 1)
    assert alone([pair()]) == Traffic()


@pytest.mark.parametrize(
    "line",
    [
        {"step": 1, "skipped": ["a"]},
        {},
        pair(new=None),
        pair(case=3),  # type: ignore[arg-type]
        pair() | {"old": {}},
        pair() | {"new": {**asdict(GOOD), "total_seconds": "1"}},
        pair() | {"new": {**asdict(GOOD), "failed": "x"}},
        pair() | {"new": {**asdict(GOOD), "failed": [1]}},
        pair() | {"new": {**asdict(GOOD), "error": 5}},
    ],
)
def test_what_is_no_pair_is_left_out(line: dict[str, Any]) -> None:
    assert len(window([line, pair()], Traffic(), Traffic(), 10).pairs) == 1


def test_one_token_on_one_side_has_no_gap_and_spoils_no_window() -> None:
    short = Sample(0.1, 1.0, None)
    samples = [pair(f"c{n % 8}", old=GOOD, new=GOOD) for n in range(60)] + [pair("c1", new=short), pair("c2", short)]
    found = window(samples, Traffic(100), Traffic(100), 50)
    assert judge(found, Rules()).outcome == PASS
    assert [one.old.token_gap_seconds for one in found.pairs[-2:]] == [None, None]


def test_a_wrong_answer_without_a_time_leaves_the_other_sides_time_out_and_a_right_one_does_not() -> None:
    refused, silent = Sample(failed=("answer 1 has status 404",)), Sample(None, 1.0, 0.01)
    lost, missing = window([pair(new=refused), pair(new=silent)], Traffic(), Traffic(), 50).pairs
    assert (lost.old.total_seconds, lost.old.first_token_seconds) == (None, None)
    assert missing.old.first_token_seconds == 0.1
    verdict = judge(window([pair(f"c{n % 8}", new=silent) for n in range(70)], Traffic(99), Traffic(99), 50), Rules())
    assert verdict.outcome == INCONCLUSIVE
    assert "missing on one side" in verdict.reasons[0]


def test_the_rules_are_those_that_the_rollout_was_begun_with() -> None:
    found = rules(Comparison(5.0, 70, 60, 9, 1.5, {"total_seconds": 7.0}, 30.0))
    assert (found.requests, found.pairs, found.cases, found.margin) == (70, 60, 9, 1.5)
    assert found.limits_seconds == {"total_seconds": 7.0}
    with pytest.raises(ValueError, match="can never decide"):
        rules(Comparison(cases=2))


def cases(count: int, critical: str = "") -> list[Case]:
    return [Case(f"c{n}", "answer", (Message("user", "?"),), {}, f"c{n}" == critical) for n in range(count)]


def put(turns: Turns, number: int, failing: str = "", side: str = "new") -> list[str]:
    """Ask so often; ``failing`` fails on ``side``."""
    names = []
    for _ in range(number):
        case = turns.next()
        assert case is not None
        names.append(case.name)
        sides = {"both": ("old", "new")}.get(side, (side,)) if case.name == failing else ()
        bad = {one: {"error": None, "failed": ["wrong"]} for one in sides}
        good: dict[str, Any] = {"error": None, "failed": []}
        turns.count({"case": case.name, "critical": case.critical, "old": good, "new": good, **bad})
    return names


def test_every_case_comes_once_before_any_comes_again_in_an_order_of_its_own() -> None:
    names = put(Turns(cases(20), "r1 1"), 60)
    for start in (0, 20, 40):
        assert len(set(names[start : start + 20])) == 20
    assert names == put(Turns(cases(20)[::-1], "r1 1"), 60)
    assert names[:20] != put(Turns(cases(20), "r1 2"), 20)
    assert names[:20] != sorted(names[:20])


@pytest.mark.parametrize(
    ("critical", "side", "times"), [("c3", "new", 2), ("", "new", 1), ("c3", "old", 1), ("c3", "both", 1)]
)
def test_only_a_critical_case_that_the_new_side_lost_comes_again_at_once(critical: str, side: str, times: int) -> None:
    names = put(Turns(cases(6, critical), "x"), 19, "c3", side)
    place = names.index("c3")
    assert (names[place + 1] == "c3") == (times == 2)
    assert sum(one == other == "c3" for one, other in pairwise(names)) == times - 1


def test_what_is_left_out_does_not_come() -> None:
    turns = Turns(cases(3), "x")
    assert {case.name for _ in range(5) if (case := turns.next({"c0", "c1"}))} == {"c2"}
    assert turns.next({"c0", "c1", "c2"}) is None
