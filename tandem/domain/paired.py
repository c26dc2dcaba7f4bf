"""The same cases put to two releases, and the statistics for what comes back from the few requests of one host. Pure.

Chosen over plain thresholds, which blame one equal release in five at 30 requests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import NormalDist
from typing import Final, TypeGuard

TIMES: Final = {
    "first_token_seconds": "time to first token",
    "total_seconds": "total time",
    "token_gap_seconds": "gap between tokens",
}

SECONDS: Final = (1e-9, 1e9)
"""A time outside these cannot be: clocks count nanoseconds, and no answer takes thirty years."""

EXACT_PAIRS: Final = 50
"""Up to this many pairs the signed-rank distribution is counted out; above, it is normal (as R's wilcox.test does)."""

BISECTIONS: Final = 40
"""Halvings of the range of log-ratios: an average is found to 1e-12 of that range."""


@dataclass(frozen=True)
class Sample:
    """One answer to a case, or the kind of ``error`` that came instead. Seconds; None: not measured.

    ``token_gap_seconds`` is the mean gap, so it is never 0. ``failed``: the assertions that the answer did not meet.
    """

    first_token_seconds: float | None = None
    total_seconds: float | None = None
    token_gap_seconds: float | None = None
    error: str | None = None
    failed: tuple[str, ...] = ()

    def seconds(self, time: str) -> float | None:
        """The time of this name in TIMES; None also for an error."""
        value: float | None = getattr(self, time)
        return value if self.error is None else None


@dataclass(frozen=True)
class Pair:
    """The same case put to both sides. ``graded``: it has assertions, so its answer can be wrong."""

    case: str
    old: Sample
    new: Sample
    critical: bool = False
    graded: bool = True


@dataclass(frozen=True)
class Traffic:
    """Requests of users in the window, and those of them that failed."""

    requests: int = 0
    failures: int = 0

    @property
    def sound(self) -> bool:
        """Counts that can be."""
        return 0 <= self.failures <= self.requests < math.inf


@dataclass(frozen=True)
class Window:
    """All that is known. ``equal_load``: both sides carry the same, so their times can be compared."""

    pairs: Sequence[Pair]
    old: Traffic = Traffic()
    new: Traffic = Traffic()
    equal_load: bool = False


def sound(seconds: float | None) -> TypeGuard[float]:
    """A time that can be: measured, a number, above 0."""
    return seconds is not None and SECONDS[0] <= seconds <= SECONDS[1]


@dataclass(frozen=True)
class Sequential:
    """Wald's sequential test of an error rate. It may be looked at after every request.

    ``tolerable`` and ``unacceptable`` are shares of failed requests, ``false_alarm`` and ``miss`` the chances to fail
    the one and to pass the other. Raises ValueError for what cannot be.
    """

    tolerable: float
    unacceptable: float
    false_alarm: float
    miss: float

    def __post_init__(self) -> None:
        if not 0 < self.tolerable < self.unacceptable < 1:
            raise ValueError(f"{self}: 0 < tolerable < unacceptable < 1 must hold")
        if not (0 < self.false_alarm < 0.5 and 0 < self.miss < 0.5):
            raise ValueError(f"{self}: false_alarm and miss must lie between 0 and 0.5")

    @property
    def _per_failure(self) -> float:
        return math.log(self.unacceptable / self.tolerable)

    @property
    def _per_success(self) -> float:
        return math.log((1 - self.tolerable) / (1 - self.unacceptable))

    def fails_within(self, failures: int) -> int:
        """So many failures are too many when they came within this many requests. -1: they never are."""
        spare = failures * self._per_failure - math.log((1 - self.miss) / self.false_alarm)
        return failures + math.floor(spare / self._per_success) if spare >= 0 else -1

    def passes_from(self, failures: int) -> int:
        """So many failures are few enough from this many requests on."""
        lack = failures * self._per_failure - math.log(self.miss / (1 - self.false_alarm))
        return failures + math.ceil(lack / self._per_success)


def at_least(successes: int, trials: int, share: float) -> float:
    """The chance of at least ``successes`` in ``trials`` that succeed with chance ``share``, above 0 and below 1."""
    ways = math.lgamma(trials + 1)
    logs = (
        ways
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
        for k in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def sign_test(losses: int, wins: int) -> float:
    """The chance of at least so many losses among the items that differ, if a loss were as likely as a win."""
    return at_least(losses, losses + wins, 0.5)


@dataclass(frozen=True)
class Interval:
    """The typical value (Hodges and Lehmann's median of averages) and what it lies between."""

    low: float
    typical: float
    high: float


def interval(values: Sequence[float], error: float) -> Interval:
    """Where the middle of ``values`` lies, by the signed-rank statistic; ``error``: chance to be wrong, per side.

    Infinite ends when there are fewer than ``fewest(error)`` values. Raises ValueError when there are none.
    """
    if not values:
        raise ValueError("no values: there is nothing to say about their middle")
    ordered = sorted(values)
    averages = len(ordered) * (len(ordered) + 1) // 2
    typical = (_average(ordered, (averages + 1) // 2) + _average(ordered, averages // 2 + 1)) / 2
    rank = _rank(len(ordered), error)
    if rank < 1:
        return Interval(-math.inf, typical, math.inf)
    return Interval(_average(ordered, rank), typical, _average(ordered, averages + 1 - rank))


def fewest(error: float) -> int:
    """The fewest signs or pairs that can show anything at this chance to be wrong per side."""
    return math.floor(-math.log2(error)) + 1


@cache
def _rank(count: int, error: float) -> int:
    """Which average, counted from either end, bounds the middle. 0: none does."""
    if count > EXACT_PAIRS:
        mean, deviation = count * (count + 1) / 4, math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
        return math.floor(mean + NormalDist().inv_cdf(error) * deviation - 0.5) + 1
    ways = [1]  # ways[sum]: subsets of the ranks so far with that sum
    for rank in range(1, count + 1):
        longer = [*ways, *[0] * rank]
        ways = [there + (ways[total - rank] if total >= rank else 0) for total, there in enumerate(longer)]
    return sum(below <= error * 2**count for below in accumulate(ways))


def _average(ordered: Sequence[float], rank: int) -> float:
    """The ``rank``-th smallest average of two values, each value with itself included, without listing them all."""
    low, high = ordered[0], ordered[-1]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _averages_up_to(ordered, middle) >= rank:
            high = middle
        else:
            low = middle
    return high


def _averages_up_to(ordered: Sequence[float], bound: float) -> int:
    found, right = 0, len(ordered)
    for left, value in enumerate(ordered):
        while right > left and value + ordered[right - 1] > 2 * bound:
            right -= 1
        if right <= left:
            break
        found += right - left
    return found
