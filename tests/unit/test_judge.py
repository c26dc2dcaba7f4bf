"""The judge blames a bad release and no good one, and what is missing, broken or undecided is never a pass."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import accumulate
from statistics import NormalDist
from typing import Any

import pytest

from tandem.domain.judge import ERRORS, FAIL, INCONCLUSIVE, PASS, Result, Rules, Verdict, judge
from tandem.domain.paired import TIMES, Pair, Sample, Traffic, Window, fewest, interval, sign_test

SECONDS: dict[str, Any] = {"first_token_seconds": 0.3, "total_seconds": 4.0, "token_gap_seconds": 0.02}
LIMITS = {"first_token_seconds": 1.0, "total_seconds": 10.0, "token_gap_seconds": 0.1}
CASES = 20
ENOUGH = Traffic(65)
WRONG = ("contains 'Paris'",)


def chances(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311


def answer(slower: float = 1.0, **changed: Any) -> Sample:
    return replace(Sample(**{name: seconds * slower for name, seconds in SECONDS.items()}), **changed)


def broken() -> Sample:
    return Sample(error="timeout")


def pairs(count: int = 50, old: Sample | None = None, new: Sample | None = None, **changed: Any) -> list[Pair]:
    return [Pair(f"case-{i % CASES}", old or answer(), new or answer(), **changed) for i in range(count)]


def noisy(rng: random.Random, sigma: float, slower: float = 1.0, count: int = 50, errors: float = 0.0) -> list[Pair]:
    """Prompts of very different length, asked of both; ``sigma``: of the log-ratio of a pair; errors on both sides."""

    def one(length: float, factor: float) -> Sample:
        if rng.random() < errors:
            return broken()
        times = {name: s * length * factor * rng.lognormvariate(0, sigma / math.sqrt(2)) for name, s in SECONDS.items()}
        return Sample(**times)

    lengths = [rng.lognormvariate(0, 1) for _ in range(count)]
    return [Pair(f"case-{i % CASES}", one(length, 1), one(length, slower)) for i, length in enumerate(lengths)]


def equal(asked: list[Pair], old: Traffic = ENOUGH, new: Traffic = ENOUGH) -> Window:
    return Window(asked, old, new, equal_load=True)


def result(verdict: Verdict, metric: str) -> Result:
    return next(one for one in verdict.results if one.metric == metric)


# The statistics


@pytest.mark.parametrize(
    ("failures", "fails_within", "passes_from"),
    [(0, -1, 65), (1, -1, 116), (2, 3, 167), (3, 53, 217), (4, 104, 268), (5, 155, 319)],
)
def test_the_sequential_test_has_walds_boundaries(failures: int, fails_within: int, passes_from: int) -> None:
    assert (ERRORS.fails_within(failures), ERRORS.passes_from(failures)) == (fails_within, passes_from)


def test_the_boundaries_are_those_of_the_likelihood_ratio() -> None:
    for failures in range(30):
        for requests in range(max(failures, 1), 800):
            ratio = failures * math.log(0.05 / 0.005) + (requests - failures) * math.log(0.95 / 0.995)
            assert (requests <= ERRORS.fails_within(failures)) == (ratio >= math.log(0.95 / 0.01))
            assert (requests >= ERRORS.passes_from(failures)) == (ratio <= math.log(0.05 / 0.99))


def sequences(rate: float, count: int) -> tuple[float, float]:
    """Share of requests' sequences that fail, and the mean length of these."""
    rng, lengths = chances(f"errors at {rate}"), list[int]()
    for _ in range(count):
        failures = 0
        for requests in range(1, 2000):
            failures += rng.random() < rate
            if requests <= ERRORS.fails_within(failures):
                lengths.append(requests)
                break
            if requests >= ERRORS.passes_from(failures):
                break
    return len(lengths) / count, sum(lengths) / max(1, len(lengths))


def test_the_sequential_test_errs_as_rarely_as_it_promises() -> None:
    assert sequences(0.0, 10)[0] == 0
    assert sequences(0.005, 5000)[0] <= 0.01
    caught, after = sequences(0.05, 2000)
    assert caught >= 0.94
    assert 50 <= after <= 90
    caught, after = sequences(0.3, 2000)
    assert caught == 1
    assert after <= 10


@pytest.mark.parametrize(("losses", "wins"), [(7, 0), (10, 1), (12, 2), (14, 3), (15, 4), (17, 5)])
def test_the_sign_test_has_its_thresholds(losses: int, wins: int) -> None:
    assert sign_test(losses, wins) < 0.01 <= sign_test(losses - 1, wins)
    assert sign_test(losses, wins + 1) >= 0.01
    exact = sum(math.comb(losses + wins, k) for k in range(losses, losses + wins + 1)) / 2 ** (losses + wins)
    assert sign_test(losses, wins) == pytest.approx(exact)


def test_the_sign_test_says_nothing_when_nothing_differs() -> None:
    assert sign_test(0, 0) == 1
    assert fewest(0.01) == 7


def averages(values: list[float]) -> list[float]:
    return sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])


@pytest.mark.parametrize(
    ("count", "critical"),
    [(7, 0), (8, 1), (9, 3), (10, 5), (12, 9), (15, 19), (20, 43), (25, 76), (30, 120), (50, 397)],
)
def test_the_interval_is_that_of_the_signed_rank_table(count: int, critical: int) -> None:
    """``critical``: of Wilcoxon's published table, one-sided 1 %."""
    rng = chances(count)
    values = [rng.gauss(0.1, 1) for _ in range(count)]
    listed, found = averages(values), interval(values, 0.01)
    middle = (listed[(len(listed) - 1) // 2] + listed[len(listed) // 2]) / 2
    assert (found.low, found.typical, found.high) == pytest.approx(
        (listed[critical], middle, listed[-critical - 1]), abs=1e-9
    )


@pytest.mark.parametrize("count", [51, 60, 100])
def test_above_fifty_pairs_the_interval_is_hardly_wider_than_the_exact_one(count: int) -> None:
    ways = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    exact = sum(below <= 0.01 * 2**count for below in accumulate(ways))
    rng = chances(count)
    values = [rng.gauss(0, 1) for _ in range(count)]
    listed = averages(values)
    assert listed[exact - 4] - 1e-9 <= interval(values, 0.01).low <= listed[exact - 1] + 1e-9


def test_few_values_bound_nothing_and_none_are_refused() -> None:
    six = interval([1.0] * 6, 0.01)
    assert (six.low, six.typical, six.high) == (-math.inf, 1.0, math.inf)
    assert interval([1.0] * 7, 0.01).low == pytest.approx(1)
    with pytest.raises(ValueError, match="no values"):
        interval([], 0.01)


# How often it errs


def outcomes(seed: str, count: int, make: Callable[[random.Random], Window]) -> dict[str, float]:
    rng = chances(seed)
    found = [judge(make(rng)).outcome for _ in range(count)]
    return {outcome: found.count(outcome) / count for outcome in (PASS, FAIL, INCONCLUSIVE)}


def test_equal_releases_pass() -> None:
    found = outcomes("equal", 300, lambda rng: equal(noisy(rng, 0.2)))
    assert found[PASS] >= 0.95
    assert found[FAIL] == 0


def test_equal_releases_with_tolerable_errors_fail_one_window_in_a_hundred_at_most_however_often_it_is_asked() -> None:
    rng, failed = chances("asked after every pair"), 0
    for _ in range(400):
        asked = noisy(rng, 0.4, count=52, errors=0.005)
        failed += any(
            judge(Window(asked[:seen], equal_load=True)).outcome == FAIL for seen in (*range(2, 50, 3), 50, 52)
        )
    assert failed <= 4


def test_a_release_half_as_slow_again_is_caught() -> None:
    assert outcomes("quiet", 100, lambda rng: equal(noisy(rng, 0.2, slower=1.5)))[FAIL] == 1
    assert outcomes("noisy", 60, lambda rng: equal(noisy(rng, 0.4, slower=1.5, count=100)))[FAIL] >= 0.95


def test_a_release_a_tenth_slower_is_not_blamed() -> None:
    found = outcomes("a tenth", 100, lambda rng: equal(noisy(rng, 0.2, slower=1.1, count=100)))
    assert found[FAIL] == 0
    assert found[PASS] >= 0.75


# A pass and its sentences


def test_a_pass_says_what_it_rests_on() -> None:
    verdict = judge(equal(pairs()))
    assert verdict.outcome == PASS
    assert verdict.reasons == (
        "data: every number can be used",
        "errors: 0 of 115 requests failed on the new side, 0 of 115 on the old; 0.5% is tolerable",
        "time to first token: 1 times the old side's (1 to 1), 1.2 at most, 50 pairs",
        "total time: 1 times the old side's (1 to 1), 1.2 at most, 50 pairs",
        "gap between tokens: 1 times the old side's (1 to 1), 1.2 at most, 50 pairs",
        "answers: of 20 cases 0 fail on the new side only, 0 on the old only",
    )


# Errors


def test_three_errors_within_fifty_requests_fail_at_once() -> None:
    verdict = judge(equal(pairs(3, new=broken()), new=Traffic(17)))
    assert verdict.outcome == FAIL
    assert verdict.reasons == (
        "errors: 3 of 20 requests failed on the new side, 0 of 68 on the old; so many within 53 are too many",
    )


def test_errors_of_users_count_like_those_of_pairs() -> None:
    assert judge(equal(pairs(), new=Traffic(3, 3))).outcome == FAIL
    assert judge(equal(pairs(), new=Traffic(4, 3))).outcome == INCONCLUSIVE


def test_one_error_takes_more_requests_and_says_how_many() -> None:
    verdict = judge(equal(pairs(), new=Traffic(30, 1)))
    assert verdict.outcome == INCONCLUSIVE
    assert verdict.reasons == (
        "errors: 1 of 80 requests failed on the new side, 0 of 115 on the old; missing without a failure: 36",
    )
    assert judge(equal(pairs(), new=Traffic(66, 1))).outcome == PASS


def test_errors_of_both_sides_are_the_hosts() -> None:
    verdict = judge(equal(pairs(50, new=answer(3)), old=Traffic(20, 4), new=Traffic(20, 5)))
    assert verdict.outcome == INCONCLUSIVE
    assert verdict.reasons == (
        "host problem: 5 of 70 requests failed on the new side, 4 of 70 on the old; nobody is blamed",
    )
    assert result(verdict, "total_seconds").outcome == FAIL  # said, and not acted upon


def test_a_few_errors_on_either_side_are_the_hosts_unless_the_new_side_has_clearly_more() -> None:
    assert judge(equal(pairs(), old=Traffic(15, 2), new=Traffic(3, 3))).reasons == (
        "host problem: 3 of 53 requests failed on the new side, 2 of 65 on the old; nobody is blamed",
    )
    assert judge(equal(pairs(), old=Traffic(15, 2), new=Traffic(15, 15))).outcome == FAIL


def test_a_stray_error_of_the_old_side_does_not_hide_a_bad_release() -> None:
    assert judge(equal(pairs(), old=Traffic(600, 1), new=Traffic(20, 10))).outcome == FAIL


def test_an_old_side_that_fails_alone_is_no_measure() -> None:
    verdict = judge(equal(pairs(), old=Traffic(3, 3)))
    assert verdict.outcome == INCONCLUSIVE
    assert "host problem" in verdict.reasons[0]


# Times


@pytest.mark.parametrize("time", TIMES)
def test_each_time_alone_can_fail_a_release(time: str) -> None:
    verdict = judge(equal(pairs(new=answer(**{time: SECONDS[time] * 1.3}))))
    assert verdict.outcome == FAIL
    assert verdict.reasons == (f"{TIMES[time]}: 1.3 times the old side's (1.3 to 1.3), 1.2 at most, 50 pairs",)


@pytest.mark.parametrize("slower", [1.18, 1.22])
def test_a_time_around_the_margin_is_undecided(slower: float) -> None:
    spread = [math.exp(NormalDist(0, 0.2).inv_cdf((i + 0.5) / 50)) for i in range(50)]
    verdict = judge(equal([Pair(f"case-{i % CASES}", answer(), answer(slower * one)) for i, one in enumerate(spread)]))
    assert {result(verdict, time).outcome for time in TIMES} == {INCONCLUSIVE}
    assert result(verdict, "total_seconds").figures["typical"] == pytest.approx(slower, rel=0.001)


@pytest.mark.parametrize(("slower", "outcome"), [(1.0, PASS), (2.0, PASS), (4.0, FAIL)])
def test_at_unequal_load_limits_decide_and_the_old_side_does_not(slower: float, outcome: str) -> None:
    rules = Rules(limits_seconds=LIMITS)
    assert judge(Window(pairs(new=answer(slower)), ENOUGH, ENOUGH), rules).outcome == outcome
    assert judge(Window(pairs(old=answer(20), new=answer(slower)), ENOUGH, ENOUGH), rules).outcome == outcome


def test_at_unequal_load_no_limit_is_no_pass() -> None:
    verdict = judge(Window(pairs(), ENOUGH, ENOUGH))
    assert verdict.outcome == INCONCLUSIVE
    assert "time to first token: the load is not equal and no limit is given" in verdict.reasons


def test_a_time_that_the_rules_leave_out_is_not_asked_for() -> None:
    asked = pairs(old=answer(token_gap_seconds=None), new=answer(token_gap_seconds=None))
    assert judge(equal(asked)).outcome == INCONCLUSIVE
    assert judge(equal(asked), Rules(times=("first_token_seconds", "total_seconds"))).outcome == PASS


# Answers


def graded(*sides: tuple[bool, bool], critical: bool = False) -> list[Pair]:
    """A case for each (old is right, new is right), and 50 pairs that both answer well."""

    def one(right: bool) -> Sample:
        return answer(failed=() if right else WRONG)

    extra = [Pair(f"extra-{i}", one(old), one(new), critical) for i, (old, new) in enumerate(sides)]
    return pairs() + extra


RIGHT_WRONG, WRONG_RIGHT, WRONG_WRONG = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("losses", "wins", "outcome"),
    [(6, 0, PASS), (7, 0, FAIL), (9, 1, PASS), (10, 1, FAIL), (11, 2, PASS), (12, 2, FAIL)],
)
def test_cases_that_only_the_new_side_fails_outweigh_those_that_only_the_old_fails(
    losses: int, wins: int, outcome: str
) -> None:
    assert judge(equal(graded(*[RIGHT_WRONG] * losses, *[WRONG_RIGHT] * wins))).outcome == outcome


def test_a_case_that_the_old_side_also_fails_carries_no_evidence() -> None:
    assert judge(equal(graded(*[WRONG_WRONG] * 15, critical=True))).outcome == PASS
    hopeless = pairs(old=answer(failed=WRONG), new=answer(failed=WRONG))
    assert judge(equal(hopeless)).reasons == ("answers: 0 cases that the old side passes of 7; missing: 7",)


def test_lost_cases_are_named() -> None:
    (reason,) = judge(equal(graded(*[RIGHT_WRONG] * 8))).reasons
    assert reason == (
        "answers: of 28 cases 8 fail on the new side only (extra-0, extra-1, extra-2 and 5 more), 0 on the old only "
        "(chance 0.0039)"
    )


def test_lost_cases_fail_a_full_window_only() -> None:
    assert judge(equal(graded(*[RIGHT_WRONG] * 9)[10:])).outcome == INCONCLUSIVE
    assert judge(equal(graded(*[RIGHT_WRONG] * 9)[9:])).outcome == FAIL


def test_a_case_asked_often_is_one_case() -> None:
    asked = pairs() + [Pair("capital", answer(), answer(failed=WRONG))] * 20
    assert judge(equal(asked)).outcome == PASS


def day(new_fails: float, wrong: tuple[str, ...] = (), error: str | None = None) -> list[Pair]:
    """As many pairs as 24 hours have, of 66 cases; the old side is always right."""
    chance, bad = chances("a day"), answer(failed=wrong, error=error)
    return [Pair(f"case-{n % 66}", answer(), bad if chance.random() < new_fails else answer()) for n in range(8640)]


def test_tolerable_errors_and_slow_moments_are_no_wrong_answers_however_long_the_window() -> None:
    rules = Rules(times=())
    assert judge(equal(day(0.003, error="status 500")), rules).outcome == PASS
    assert judge(equal(day(0.01, wrong=("took 2.4 s for its first token, the limit is 2 s",))), rules).outcome == PASS
    assert judge(equal(day(0.3, wrong=WRONG)), rules).outcome == FAIL


@pytest.mark.parametrize("critical", [False, True])
def test_one_failure_of_the_old_side_in_a_day_hides_no_wrong_answers(critical: bool) -> None:
    asked = [Pair(f"case-{n % 10}", answer(), answer(failed=WRONG), critical) for n in range(8640)]
    asked[1000:1010] = [replace(one, old=answer(failed=WRONG)) for one in asked[1000:1010]]
    assert judge(equal(asked), Rules(times=())).outcome == FAIL


def test_a_critical_case_fails_the_release_when_it_fails_twice() -> None:
    once = [Pair("tool-call", answer(), answer(failed=WRONG), critical=True)]
    right = [Pair("tool-call", answer(), answer(), critical=True)]
    old_too = [Pair("tool-call", answer(failed=WRONG), answer(), critical=True)]
    assert judge(equal(once * 2)).reasons == (
        "answers: critical cases fail on the new side and not on the old: tool-call",
    )
    assert judge(equal(pairs() + once)).reasons == (
        "answers: critical cases failed once on the new side; missing, asked again: tool-call",
    )
    assert judge(equal(pairs() + once + right)).outcome == PASS
    unmarked = [replace(once[0], critical=False)]
    assert judge(equal(once + unmarked)).outcome == judge(equal(unmarked + once)).outcome == FAIL
    assert judge(equal(pairs() + once * 2 + old_too)).outcome == PASS


def test_a_critical_case_that_fails_now_and_then_on_both_sides_blames_nobody_however_long_the_window() -> None:
    """A day of pairs: two failures of the new side come before the first of the old one as often as tails twice."""
    chance, blamed = chances("day"), 0
    for _ in range(10):
        day: list[Pair] = []
        for number in range(8640):
            old, new = (answer(failed=WRONG if chance.random() < 0.003 else ()) for _ in range(2))
            day.append(Pair(f"case-{number % 66}", old, new, critical=number % 66 < 10))
        looks = [number for number, one in enumerate(day, 1) if one.critical and one.new.failed]
        rules = Rules(times=())
        verdicts = (judge(equal(day[:look]), rules) for look in looks)
        blamed += any(verdict.outcome == FAIL and "critical" in verdict.reasons[0] for verdict in verdicts)
    assert blamed == 0


def test_a_critical_case_that_fails_one_time_in_ten_is_still_found() -> None:
    right, wrong = (Pair("tool-call", answer(), answer(failed=failed), critical=True) for failed in ((), WRONG))
    assert judge(equal(pairs() + ([right] * 9 + [wrong]) * 2)).reasons == (
        "answers: critical cases fail on the new side and not on the old, not often enough to tell: tool-call",
    )
    assert judge(equal(pairs() + ([right] * 9 + [wrong]) * 6)).outcome == FAIL
    assert judge(equal([*pairs(), right, wrong, wrong])).outcome == INCONCLUSIVE
    assert judge(equal(pairs() + [right] * 90 + [wrong] * 2)).outcome == PASS


def test_an_error_in_place_of_an_answer_fails_its_case() -> None:
    asked = pairs() + [Pair("long", answer(), broken(), critical=True)] * 2
    assert judge(equal(asked, new=Traffic(1000))).outcome == FAIL


def test_answers_without_assertions_prove_nothing() -> None:
    assert "missing: 7" in judge(equal(pairs(graded=False))).reasons[0]


# Missing and broken data


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (Window([], equal_load=True), "missing without a failure: 65"),
        (Window([]), "missing without a failure: 65"),
        (equal([]), "total time: 0 pairs of 50; missing: 50"),
        (equal(pairs(49)), "total time: 49 pairs of 50; missing: 1"),
        (equal(pairs(), new=Traffic(14)), "missing without a failure: 1"),
        (equal(pairs(49)), "answers: 49 pairs of 50; missing: 1"),
    ],
)
def test_too_few_is_inconclusive_and_says_how_many_are_missing(window: Window, said: str) -> None:
    verdict = judge(window)
    assert verdict.outcome == INCONCLUSIVE
    assert any(said in reason for reason in verdict.reasons)


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 0.0, None])
def test_one_impossible_number_is_never_a_pass(side: str, time: str, value: float | None) -> None:
    good = pairs(60)
    changed: dict[str, Any] = {side: Sample(**{**SECONDS, time: value})}
    bad = replace(good[7], **changed)
    for load in (True, False):
        verdict = judge(Window([*good, bad], ENOUGH, ENOUGH, load), Rules(limits_seconds=LIMITS))
        assert verdict.outcome == INCONCLUSIVE
        assert verdict.reasons == (
            f"data: 1 numbers are missing on one side or impossible ({time} of the {side}, case case-7)",
        )
        assert result(verdict, time).figures["pairs"] == (61 if side == "old" and not load else 60)


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("users", [Traffic(-1), Traffic(10, -1), Traffic(10, 11), Traffic(math.nan), Traffic(math.inf)])  # type: ignore[arg-type]
def test_impossible_counts_are_never_a_pass(side: str, users: Traffic) -> None:
    counts: dict[str, Any] = {side: users}
    verdict = judge(replace(equal(pairs()), **counts))
    assert verdict.outcome == INCONCLUSIVE
    assert any(f"users' requests of the {side}" in reason for reason in verdict.reasons)


def test_a_release_is_blamed_on_good_data_beside_bad() -> None:
    asked = [*pairs(new=answer(2)), Pair("case-0", answer(), answer(total_seconds=math.nan))]
    assert judge(equal(asked)).outcome == FAIL


def test_a_verdict_is_json_whatever_came() -> None:
    wild = [Pair("wild", answer(1e-8), answer(1e8)), Pair("nan", answer(math.nan), answer(math.inf))]
    for asked in ([], pairs(), pairs() + wild, wild * 40):
        verdict = judge(equal(asked))
        assert json.loads(json.dumps(asdict(verdict), allow_nan=False))["outcome"] == verdict.outcome


@pytest.mark.parametrize(
    "changed",
    [
        {"pairs": 6},
        {"pairs": math.nan},
        {"cases": 6},
        {"requests": 0},
        {"margin": 1.0},
        {"margin": math.nan},
        {"chance": 0.0},
        {"chance": math.nan},
        {"times": ("speed",)},
        {"limits_seconds": {"total_seconds": math.nan}},
    ],
)
def test_rules_that_could_never_decide_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"can never decide|must|is none of"):
        Rules(**changed)


@pytest.mark.parametrize("changed", [{"tolerable": 0.05}, {"unacceptable": 1.0}, {"false_alarm": 0.0}, {"miss": 0.5}])
def test_error_rates_that_cannot_be_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(ERRORS, **changed)


# What must not matter


def mixed(seed: int) -> Window:
    """Any kind of window: some good, some slow, some wrong, some failing."""
    rng = chances(seed)
    asked = noisy(rng, 0.2, rng.choice([0.7, 1, 1.2, 1.5]), rng.choice([20, 50, 70]), rng.choice([0, 0.02, 0.3]))
    odds = rng.choice([0, 0.05, 0.5])

    def maybe_wrong(sample: Sample) -> Sample:
        return replace(sample, failed=WRONG if rng.random() < odds else ())

    asked = [replace(pair, new=maybe_wrong(pair.new), critical=rng.random() < 0.1) for pair in asked]
    return equal(asked, Traffic(rng.randrange(200), 0), Traffic(rng.randrange(200), 0))


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_pairs_does_not_matter(seed: int) -> None:
    window = mixed(seed)
    shuffled = chances(seed).sample(window.pairs, len(window.pairs))
    assert judge(replace(window, pairs=shuffled)) == judge(window)


@pytest.mark.parametrize("seed", range(12))
def test_a_host_that_is_slower_for_both_does_not_matter(seed: int) -> None:
    window, before = mixed(seed), judge(mixed(seed))

    def slowed(sample: Sample) -> Sample:
        times: dict[str, Any] = {time: None if (s := sample.seconds(time)) is None else s * 8 for time in TIMES}
        return replace(sample, **times)

    after = judge(
        replace(window, pairs=[replace(pair, old=slowed(pair.old), new=slowed(pair.new)) for pair in window.pairs])
    )
    assert after.outcome == before.outcome
    assert after.reasons == before.reasons


@pytest.mark.parametrize("seed", range(12))
def test_swapped_sides_swap_the_findings(seed: int) -> None:
    window, before = mixed(seed), judge(mixed(seed))
    swapped = [replace(pair, old=pair.new, new=pair.old) for pair in window.pairs]
    after = judge(Window(swapped, window.new, window.old, equal_load=True))
    for time in TIMES:
        was, now = result(before, time), result(after, time)
        assert {was.outcome, now.outcome} != {FAIL}
        if "low" in was.figures:
            assert now.figures["low"] == pytest.approx(1 / was.figures["high"])
            assert now.figures["typical"] == pytest.approx(1 / was.figures["typical"])
            assert now.figures["high"] == pytest.approx(1 / was.figures["low"])
    assert result(after, "answers").figures["losses"] == result(before, "answers").figures["wins"]
    assert result(after, "errors").figures["old_failures"] == result(before, "errors").figures["new_failures"]
    assert {before.outcome, after.outcome} != {PASS, FAIL} or before.reasons != after.reasons
    assert not (before.outcome == after.outcome == FAIL and before.reasons == after.reasons)
