"""Windows drawn from recorded pairs of a release beside itself, filled as the prober fills them, and their verdicts.

A window is looked at after every pair, as the guard does, so it can fail at any of them. The judge is asked wherever a
fail is possible; where it is not, by what fails a window, it is not asked.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tandem.domain.case_turns import Turns
from tandem.domain.cases import Case
from tandem.domain.judge import FAIL, Rules, Verdict, judge
from tandem.domain.paired import Traffic, Window, sound
from tandem.domain.window import window

SAFE_SHARE: Final = 0.72
"""While so many of a time's values are within its bound, half of their averages are too, so the lower end of its
interval is: sqrt(1/2) of the values give half of the averages.
"""
GROWTH: Final = 1.05
"""Times are looked at whenever the window has grown by this factor: one pair changes little."""

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Users:
    """Users' requests beside each pair, on both sides together, and the share of them that fails anyhow."""

    per_pair: float = 0.0
    failing: float = 0.0


@dataclass
class Outcomes:
    """Of many windows. ``early``: fails that came before the window was full."""

    counts: Counter[str] = field(default_factory=Counter)
    early: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict, full: bool) -> None:
        self.counts[verdict.outcome] += 1
        self.early += verdict.outcome == FAIL and not full
        if verdict.outcome != "pass":
            metrics = sorted(one.metric for one in verdict.results if one.outcome == verdict.outcome)
            self.reasons[f"{verdict.outcome}: {', '.join(metrics)}"] += 1

    def join(self, other: "Outcomes") -> None:
        self.counts += other.counts
        self.reasons += other.reasons
        self.early += other.early

    @property
    def windows(self) -> int:
        return sum(self.counts.values())

    def share(self, outcome: str) -> float:
        return self.counts[outcome] / max(1, self.windows)


def exchanged(samples: Sequence[Sample]) -> list[Sample]:
    """As if each side had been the other one: what one card does better is the other one's fault then."""
    return [{**one, "old": one["new"], "new": one["old"], "busy": list(reversed(one["busy"]))} for one in samples]


@dataclass(frozen=True)
class Recorded:
    """Pairs of one weight."""

    samples: Sequence[Sample]
    weight: int

    def seen(self) -> Window:
        """All of them as one window, without users."""
        return window(self.samples, Traffic(), Traffic(), self.weight)

    def cases(self) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = defaultdict(list)
        for sample in self.samples:
            found[sample["case"]].append(sample)
        return dict(found)

    def filled(self, pairs: int, chance: random.Random) -> Iterator[Sample]:
        """One window's pairs: the prober's turns through the cases, and of each case one of its recorded pairs."""
        pools = self.cases()
        turns = Turns([Case(name, "", (), {}) for name in pools], f"{chance.random()}")
        for _ in range(pairs):
            case = turns.next()
            assert case is not None
            sample = chance.choice(pools[case.name])
            turns.count(sample)
            yield sample

    def outcomes(self, windows: int, pairs: int, rules: Rules, users: Users, seed: str) -> Outcomes:
        chance = random.Random(seed)  # noqa: S311 - repeatable
        found = Outcomes()
        for _ in range(windows):
            verdict, full = self.one(pairs, rules, users, chance)
            found.add(verdict, full)
        return found

    def one(self, pairs: int, rules: Rules, users: Users, chance: random.Random) -> tuple[Verdict, bool]:
        """The verdict of one window: the first fail, or what it is once it is full."""
        samples: list[Sample] = []
        old, new = Traffic(), Traffic()
        timed, blamed = 0.0, False
        for sample in self.filled(pairs, chance):
            samples.append(sample)
            old, _ = _grown(old, users, 100 - self.weight, chance)
            new, lost = _grown(new, users, self.weight, chance)
            count = len(samples)
            if count == pairs:
                break
            # Only a failure of the new side adds to what speaks against it, or an end of the blame of the host.
            suspect = lost or blamed or _bad(sample["new"]) or count == rules.pairs
            due = count >= max(timed * GROWTH, rules.pairs)
            timed = count if due else timed
            if not (suspect or due):
                continue
            seen = window(samples, old, new, self.weight)
            timely = due and slow(seen, rules)
            if suspect or timely:
                verdict = judge(seen, rules if timely else replace(rules, times=()))
                if verdict.outcome == FAIL:
                    return verdict, False
                blamed = verdict.reasons[0].startswith("host problem")
        return judge(window(samples, old, new, self.weight), rules), True


def slow(seen: Window, rules: Rules) -> bool:
    """Whether a time could fail this window at all."""
    for time in rules.times:
        both = [(pair.old.seconds(time), pair.new.seconds(time)) for pair in seen.pairs]
        if seen.equal_load:
            bound = rules.margin
            values = [new / old for old, new in both if sound(old) and sound(new)]
        else:
            bound = rules.limits_seconds.get(time, math.inf)
            values = [new for _, new in both if sound(new)]
        if values and sum(value <= bound for value in values) < SAFE_SHARE * len(values):
            return True
    return False


def _bad(answer: Mapping[str, Any]) -> bool:
    return bool(answer["error"] or answer["failed"])


def _grown(traffic: Traffic, users: Users, share: int, chance: random.Random) -> tuple[Traffic, bool]:
    """With what users asked meanwhile, and whether some of it failed."""
    if not users.per_pair:
        return traffic, False
    mean = users.per_pair * share / 100
    more = int(mean) + (chance.random() < mean % 1)
    failed = sum(chance.random() < users.failing for _ in range(more)) if users.failing else 0
    return Traffic(traffic.requests + more, traffic.failures + failed), failed > 0
