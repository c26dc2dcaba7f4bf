"""The verdict over one window of a rollout: the new release beside the old one, on the same cases. Pure.

Three outcomes. What is missing, broken or undecided is inconclusive and never a pass. May be asked after every pair:
errors and critical cases can fail a window at any moment, times and answers only when it is full.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tandem.domain.paired import (
    TIMES,
    Sample,
    Sequential,
    Traffic,
    Window,
    at_least,
    fewest,
    interval,
    sign_test,
    sound,
)

PASS: Final = "pass"  # noqa: S105
FAIL: Final = "fail"
INCONCLUSIVE: Final = "inconclusive"

ERRORS: Final = Sequential(tolerable=0.005, unacceptable=0.05, false_alarm=0.01, miss=0.05)

CRITICAL_FAILURES: Final = 2
"""A critical case can fail the new release when it fails this often and the old one does not: once may be chance."""

CRITICAL: Final = Sequential(tolerable=0.01, unacceptable=0.1, false_alarm=0.01, miss=0.05)
"""Of one critical case: twice in a row is too often, twice among the hundreds of times that a day has is not."""

OFTEN: Final = 0.1
"""A case counts against a side that fails it more often than this: in a day, an error or a slow moment hits each."""

NAMED: Final = 3
"""Cases that a sentence names at most."""


@dataclass(frozen=True)
class Rules:
    """What a window needs, and what decides it. Raises ValueError for what could never decide.

    ``requests``, ``pairs``, ``cases`` that the old release passes: below them nothing passes. 65 requests without a
    failure are the fewest that ERRORS passes, 50 pairs is Kayenta's guidance, 7 cases the fewest that can fail a
    release. ``margin``: how many times slower still passes. ``limits_seconds``: by names in TIMES, what an answer may
    typically take; these decide where the load is not equal. ``chance``: to be wrong, per side of a time, for answers,
    and for failures that both sides have.
    """

    requests: int = 65
    pairs: int = 50
    cases: int = 7
    errors: Sequential = ERRORS
    margin: float = 1.20
    limits_seconds: Mapping[str, float] = field(default_factory=dict)
    times: tuple[str, ...] = tuple(TIMES)
    chance: float = 0.01

    def __post_init__(self) -> None:
        unknown = {*self.times, *self.limits_seconds} - TIMES.keys()
        if unknown:
            raise ValueError(f"time {min(unknown)!r} is none of {', '.join(TIMES)}")
        if not 0 < self.chance < 0.5:
            raise ValueError(f"the chance {self.chance} to be wrong must lie between 0 and 0.5")
        if not 1 < self.margin < math.inf:
            raise ValueError(f"the margin {self.margin} must be above 1")
        if not all(sound(limit) for limit in self.limits_seconds.values()):
            raise ValueError(f"the limits {dict(self.limits_seconds)} must be seconds above 0")
        for name, least in (("requests", 1), ("pairs", fewest(self.chance)), ("cases", fewest(self.chance))):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{getattr(self, name)} {name} can never decide; {least} is the least")


@dataclass(frozen=True)
class Result:
    """What one metric says. ``figures`` are finite numbers for JSON and the report."""

    metric: str
    outcome: str
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """``reasons``: the sentences that led to the outcome; all of them when it is a pass."""

    outcome: str
    reasons: tuple[str, ...]
    results: tuple[Result, ...]


def judge(window: Window, rules: Rules = Rules()) -> Verdict:
    """The verdict. A fail needs one metric, a pass all of them; a problem of the host decides alone."""
    errors, host_problem = _errors(window, rules)
    times = [_time(time, window, rules) for time in rules.times]
    results = (_data(window, rules), errors, *times, _answers(window, rules))
    if host_problem:
        return Verdict(INCONCLUSIVE, (errors.reason,), results)
    outcomes = {result.outcome for result in results}
    outcome = next(one for one in (FAIL, INCONCLUSIVE, PASS) if one in outcomes)
    return Verdict(outcome, tuple(result.reason for result in results if result.outcome == outcome), results)


def _data(window: Window, rules: Rules) -> Result:
    """Numbers that cannot be. They are left out elsewhere, and no window with one passes."""
    bad = [f"users' requests of the {side}" for side in ("old", "new") if not getattr(window, side).sound]
    for pair in window.pairs:
        for time in rules.times:
            values = {"old": pair.old.seconds(time), "new": pair.new.seconds(time)}
            answered = pair.old.error is None and pair.new.error is None
            alone = answered and sum(value is None for value in values.values()) == 1
            bad += [
                f"{time} of the {side}, case {pair.case}"
                for side, value in values.items()
                if (alone if value is None else not sound(value))
            ]
    figures = {"bad": len(bad)}
    if bad:
        said = f"data: {len(bad)} numbers are missing on one side or impossible ({_some(bad)})"
        return Result("data", INCONCLUSIVE, said, figures)
    return Result("data", PASS, "data: every number can be used", figures)


def _errors(window: Window, rules: Rules) -> tuple[Result, bool]:
    """Failed requests, of users and of pairs; and whether the host is to blame."""
    if not (window.old.sound and window.new.sound):
        return Result("errors", INCONCLUSIVE, "errors: users' requests were not counted properly"), False
    old = _with_pairs(window.old, [pair.old for pair in window.pairs])
    new = _with_pairs(window.new, [pair.new for pair in window.pairs])
    figures = {
        "old_requests": old.requests,
        "old_failures": old.failures,
        "new_requests": new.requests,
        "new_failures": new.failures,
    }
    found = (
        f"{new.failures} of {new.requests} requests failed on the new side, {old.failures} of {old.requests} on the old"
    )
    within = rules.errors.fails_within(new.failures)
    if _host_problem(old, new, rules):
        return Result("errors", INCONCLUSIVE, f"host problem: {found}; nobody is blamed", figures), True
    if new.requests <= within:
        return Result("errors", FAIL, f"errors: {found}; so many within {within} are too many", figures), False
    missing = max(rules.errors.passes_from(new.failures), rules.requests) - new.requests
    if missing > 0:
        return Result("errors", INCONCLUSIVE, f"errors: {found}; missing without a failure: {missing}", figures), False
    return Result("errors", PASS, f"errors: {found}; {rules.errors.tolerable:.1%} is tolerable", figures), False


def _host_problem(old: Traffic, new: Traffic, rules: Rules) -> bool:
    """The old side fails as well: by its own test, or as often as the new one as far as chance can tell."""
    if old.requests <= rules.errors.fails_within(old.failures):
        return True
    if not old.failures or new.requests > rules.errors.fails_within(new.failures):
        return False
    share = new.requests / (old.requests + new.requests)
    return at_least(new.failures, old.failures + new.failures, share) >= rules.chance


def _with_pairs(users: Traffic, samples: Sequence[Sample]) -> Traffic:
    failed = sum(sample.error is not None for sample in samples)
    return Traffic(users.requests + len(samples), users.failures + failed)


def _time(time: str, window: Window, rules: Rules) -> Result:
    """A time of the new side, against the old one at equal load, else against its limit."""
    both = [(pair.old.seconds(time), pair.new.seconds(time)) for pair in window.pairs]
    limit, name = rules.limits_seconds.get(time), TIMES[time]
    if window.equal_load:
        against, bound, unit = "times the old side's", rules.margin, ""
        logs = [math.log(new) - math.log(old) for old, new in both if sound(old) and sound(new)]
    elif limit is None:
        return Result(time, INCONCLUSIVE, f"{name}: the load is not equal and no limit is given")
    else:
        against, bound, unit = "typically", limit, " s"
        logs = [math.log(new) for _, new in both if sound(new)]
    if len(logs) < rules.pairs:
        said = f"{name}: {len(logs)} pairs of {rules.pairs}; missing: {rules.pairs - len(logs)}"
        return Result(time, INCONCLUSIVE, said, {"pairs": len(logs)})
    found = interval(logs, rules.chance)
    low, typical, high = math.exp(found.low), math.exp(found.typical), math.exp(found.high)
    outcome = PASS if high < bound else FAIL if low > bound else INCONCLUSIVE
    said = (
        f"{name}: {typical:.3g}{unit} {against} ({low:.3g} to {high:.3g}), {bound:.3g}{unit} at most, {len(logs)} pairs"
    )
    return Result(
        time, outcome, said, {"pairs": len(logs), "typical": typical, "low": low, "high": high, "bound": bound}
    )


@dataclass
class _Case:
    critical: bool = False
    asked: int = 0
    old_failed: int = 0
    new_failed: int = 0


def _answers(window: Window, rules: Rules) -> Result:
    """Cases by side: a case counts once, however often it was asked; an error fails it; both failing says nothing."""
    cases: dict[str, _Case] = {}
    for pair in window.pairs:
        if pair.graded:
            case = cases.setdefault(pair.case, _Case())
            case.critical |= pair.critical
            case.asked += 1
            case.old_failed += _fails(pair.old)
            case.new_failed += _fails(pair.new)
    known = {name: case for name, case in cases.items() if case.old_failed <= OFTEN * case.asked}
    lost = {name: case for name, case in known.items() if case.new_failed > OFTEN * case.asked}
    wins = sum(case.new_failed <= OFTEN * case.asked for name, case in cases.items() if name not in known)
    passed = len(known)
    chance = sign_test(len(lost), wins)
    figures = {"cases": len(cases), "old_passes": passed, "losses": len(lost), "wins": wins, "chance": chance}
    doubted = {name: case for name, case in known.items() if case.critical and case.new_failed >= CRITICAL_FAILURES}
    critical = [name for name, case in doubted.items() if case.asked <= CRITICAL.fails_within(case.new_failed)]
    if critical:
        said = f"answers: critical cases fail on the new side and not on the old: {_some(critical)}"
        return Result("answers", FAIL, said, figures)
    names = f" ({_some(lost)})" if lost else ""
    found = f"answers: of {len(cases)} cases {len(lost)} fail on the new side only{names}, {wins} on the old only"
    if len(window.pairs) >= rules.pairs and chance < rules.chance:
        return Result("answers", FAIL, f"{found} (chance {chance:.2g})", figures)
    again = [name for name, case in lost.items() if case.critical and case.asked < CRITICAL_FAILURES]
    if again:
        said = f"answers: critical cases failed once on the new side; missing, asked again: {_some(again)}"
        return Result("answers", INCONCLUSIVE, said, figures)
    unsure = [name for name, case in doubted.items() if case.asked < CRITICAL.passes_from(case.new_failed)]
    if unsure:
        said = "answers: critical cases fail on the new side and not on the old, not often enough to tell"
        return Result("answers", INCONCLUSIVE, f"{said}: {_some(unsure)}", figures)
    for what, count, wanted in (
        ("pairs", len(window.pairs), rules.pairs),
        ("cases that the old side passes", passed, rules.cases),
    ):
        if count < wanted:
            said = f"answers: {count} {what} of {wanted}; missing: {wanted - count}"
            return Result("answers", INCONCLUSIVE, said, figures)
    return Result("answers", PASS, found, figures)


def _fails(sample: Sample) -> bool:
    return sample.error is not None or bool(sample.failed)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return ", ".join(ordered[:NAMED]) + more
