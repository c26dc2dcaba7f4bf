"""What a load of many clients saw: each request, its phase, and the sums. Seconds of the monotonic clock."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

from tests.bench.questions import CORRUPTED
from tests.bench.streams import quantile

Sort: TypeAlias = Literal["settling", "quiet", "moving", "broken"]
"""``quiet``: nothing is done to the host; others are measured against it. ``moving``: traffic moves. ``settling``:
something starts or stops beside it, so times say little. ``broken``: something was killed on purpose, so what fails is
counted by itself.
"""
SETTLING: Final[Sort] = "settling"
QUIET: Final[Sort] = "quiet"
MOVING: Final[Sort] = "moving"
BROKEN: Final[Sort] = "broken"
UNHURT: Final = (SETTLING, QUIET, MOVING)
SORTS: Final = (*UNHURT, BROKEN)
EXPLAINS: Final = (QUIET, SETTLING, MOVING, BROKEN)
"""What lets a client wait: the later the more."""

CUT: Final = "cut"
DROPPED: Final = "dropped"
WEBSOCKET: Final = "websocket"
GAP_GOAL_SECONDS: Final = 0.25


@dataclass
class Asked:
    """One request, or one websocket from its opening to its end.

    ``arrivals``: of tokens (or of answers to pings), in seconds after ``began``. ``trouble``: a word, "" when it was
    answered whole and right. ``reopened``: the connection that was kept for it had been closed without notice.
    ``streamed``: as tokens, so that its times say something beside those of other streams.
    """

    kind: str
    began: float
    ended: float = 0.0
    trouble: str = ""
    detail: str = ""
    arrivals: list[float] = field(default_factory=list)
    reopened: bool = False
    streamed: bool = True
    trace: str = ""


@dataclass(frozen=True)
class Phase:
    """From ``began`` until the next one; the same name may come again."""

    began: float
    name: str
    sort: Sort


@dataclass
class Sums:
    """Of some requests. Failed ones are counted once, in the first column that fits."""

    requests: int = 0
    failed: int = 0
    cut: int = 0
    corrupted: int = 0
    dropped: int = 0
    reopened: int = 0
    first_tokens: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def add(self, asked: Asked) -> None:
        self.requests += 1
        self.reopened += asked.reopened
        match asked.trouble:
            case "":
                pass
            case trouble if trouble == CUT:
                self.cut += 1
            case trouble if trouble == DROPPED:
                self.dropped += 1
            case trouble if trouble in CORRUPTED:
                self.corrupted += 1
            case _:
                self.failed += 1

    def join(self, other: "Sums") -> None:
        for name in ("requests", "failed", "cut", "corrupted", "dropped", "reopened"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first_tokens += other.first_tokens
        self.gaps += other.gaps

    @property
    def wrong(self) -> int:
        return self.failed + self.cut + self.corrupted + self.dropped

    def cells(self) -> list[str]:
        first, gaps = self.first_tokens, self.gaps
        counts = (self.requests, self.failed, self.cut, self.corrupted, self.dropped, self.reopened)
        times = (_at(first, 0.5), _at(first, 0.99), _at(gaps, 0.5), _at(gaps, 0.99), _at(gaps, 1))
        return [*map(str, counts), *times]

    def figures(self) -> dict[str, Any]:
        """For JSON; a time that nothing was measured for is None."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "cut": self.cut,
            "corrupted": self.corrupted,
            "dropped": self.dropped,
            "reopened": self.reopened,
            "first_token_seconds_p50": quantile(self.first_tokens, 0.5) if self.first_tokens else None,
            "first_token_seconds_p99": quantile(self.first_tokens, 0.99) if self.first_tokens else None,
            "largest_gap_seconds": max(self.gaps, default=None),
        }


COLUMNS: Final = (
    *("requests", "failed", "cut", "corrupt", "dropped", "reopened"),
    *("first p50", "first p99", "gap p50", "gap p99", "gap max"),
)


@dataclass
class Record:
    """``ended``: why the load ended; anything but "stopped" means that it was not there all the time."""

    asked: Sequence[Asked]
    phases: Sequence[Phase]
    ended: str = "stopped"

    def __post_init__(self) -> None:
        self._starts = [phase.began for phase in self.phases]
        self._streaming = {one.kind for one in self.asked if one.streamed}
        self._cells: dict[tuple[str, str], Sums] = {}
        for one in self.asked:
            self._take(one)

    def of(self, *sorts: Sort, kind: str = "") -> Sums:
        """What ended, came first and had to be waited for in phases of these sorts; of one kind of client.

        Without a ``kind``, of all; but then only streams of tokens have times.
        """
        return self._sums(kind, {phase.name for phase in self.phases if phase.sort in sorts})

    def troubles(self, *sorts: Sort) -> Counter[str]:
        """How often each trouble came, by kind of client."""
        names = {phase.name for phase in self.phases if phase.sort in sorts}
        wrong = (one for one in self.asked if one.trouble and self._name(self._at(one.ended)) in names)
        return Counter(f"{one.kind}: {one.trouble}{f' ({one.detail})' if one.detail else ''}" for one in wrong)

    @property
    def extra_gap_seconds(self) -> float | None:
        """How much longer the largest gap of any kind of client was while something moved than while nothing did.

        None: there was nothing to compare.
        """
        extra = [
            max(moving.gaps) - max(quiet.gaps)
            for kind in self._kinds()
            if (moving := self.of("moving", kind=kind)).gaps and (quiet := self.of("quiet", kind=kind)).gaps
        ]
        return max(0.0, *extra) if extra else None

    def late(self, sort: Sort) -> tuple[int, int]:
        """Gaps more than 250 ms above the kind's usual one (median while quiet), of how many."""
        late, count = 0, 0
        for kind in self._kinds():
            quiet, seen = self.of("quiet", kind=kind).gaps, self.of(sort, kind=kind).gaps
            if quiet:
                bound = quantile(quiet, 0.5) + GAP_GOAL_SECONDS
                late, count = late + sum(gap > bound for gap in seen), count + len(seen)
        return late, count

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = {sort: self.of(sort).figures() for sort in SORTS}
        return {**found, "extra_gap_seconds": self.extra_gap_seconds, "ended": self.ended}

    def table(self) -> str:
        """By phase and by kind of client; times in milliseconds."""
        names = list(dict.fromkeys(phase.name for phase in self.phases))
        rows = [["", *COLUMNS]]
        rows += [[name, *self._sums("", {name}).cells()] for name in names]
        rows += [[f"all of {kind}", *self._sums(kind, set(names)).cells()] for kind in self._kinds()]
        rows += [["all but what was broken", *self.of(*UNHURT).cells()]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        lines += [f"  {times} x {what}" for what, times in self.troubles(*SORTS).most_common()]
        if self.extra_gap_seconds is not None:
            lines.append(f"largest extra token gap while something moved: {1000 * self.extra_gap_seconds:.1f} ms")
            for sort in (QUIET, MOVING):
                late, count = self.late(sort)
                lines.append(f"gaps of 250 ms above the usual one, {sort}: {late} of {count}")
        sums = self.of(*UNHURT)
        if not sums.wrong and sums.requests:
            lines.append(f"none of {sums.requests} wrong: below {100 * 3 / sums.requests:.3f} % with 95 % confidence")
        if self.ended != "stopped":
            lines.append(f"THE LOAD ENDED BY ITSELF: {self.ended}")
        return "\n".join(lines)

    def _kinds(self) -> list[str]:
        return sorted({one.kind for one in self.asked})

    def _take(self, one: Asked) -> None:
        self._cell(one.kind, self._at(one.ended)).add(one)
        for earlier, later in pairwise(one.arrivals):
            place = self._between(one.began + earlier, one.began + later)
            self._cell(one.kind, place).gaps.append(later - earlier)
        if one.arrivals and one.kind != WEBSOCKET:
            place = self._between(one.began, one.began + one.arrivals[0])
            self._cell(one.kind, place).first_tokens.append(one.arrivals[0])

    def _cell(self, kind: str, place: int | None) -> Sums:
        return self._cells.setdefault((kind, self._name(place)), Sums())

    def _sums(self, kind: str, names: set[str]) -> Sums:
        sums = Sums()
        for (its_kind, name), part in self._cells.items():
            if kind in ("", its_kind) and name in names:
                mixed = not kind and its_kind not in self._streaming
                sums.join(replace(part, gaps=[], first_tokens=[]) if mixed else part)
        return sums

    def _at(self, moment: float) -> int | None:
        """Which phase; None before the first one."""
        place = bisect_right(self._starts, moment) - 1
        return place if place >= 0 else None

    def _between(self, start: float, end: float) -> int | None:
        """The phase that a wait belongs to: of those that it touches, the last of the sort that explains most."""
        first, last = self._at(start), self._at(end)
        if first is None or last is None:
            return None
        return max(range(first, last + 1), key=lambda place: (EXPLAINS.index(self.phases[place].sort), place))

    def _name(self, place: int | None) -> str:
        return "" if place is None else self.phases[place].name


def _at(values: Sequence[float], share: float) -> str:
    return f"{1000 * quantile(values, share):.1f}" if values and math.isfinite(values[0]) else "-"
