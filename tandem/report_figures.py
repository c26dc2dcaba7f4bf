"""What the samples of a rollout say in figures: times of pairs, answers case by case, errors. Pure; takes any JSON."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.domain.loose import count, mapping, mappings, number, text, texts
from tandem.domain.paired import Sample, Traffic, sound
from tandem.domain.window import window

SIDES: Final = ("old", "new")
UNNAMED: Final = "without a name"


@dataclass(frozen=True)
class Asked:
    """One line of samples. ``old`` or ``new`` is None where that side was not asked."""

    step: int | None
    case: str
    critical: bool
    graded: bool
    old: Sample | None
    new: Sample | None


@dataclass(frozen=True)
class Spread:
    """Seconds, or a ratio: the value that this share of all stays within."""

    number: int
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float
    most: float


@dataclass
class Case:
    """A case over all steps. ``asked`` and ``passed`` by side; ``why``: the failures of a side, with how often."""

    name: str
    critical: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    why: dict[str, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in SIDES})

    def failed(self, side: str) -> int:
        return self.asked[side] - self.passed[side]

    @property
    def says(self) -> str:
        """``lost``: only the new side fails; ``won``: only the old one; ``none``: no evidence; ``alone``: the old side
        was never asked; ``same``: both pass.
        """
        if not self.asked["old"] or not self.asked["new"]:
            return "alone"
        return {(False, True): "lost", (True, False): "won", (True, True): "none"}.get(
            (self.failed("old") > 0, self.failed("new") > 0), "same"
        )


def asked(samples: object) -> list[Asked]:
    """Every line that has an answer of a side."""
    found = []
    for line in mappings(samples):
        old, new = _sample(line.get("old")), _sample(line.get("new"))
        if old is not None or new is not None:
            name = text(line.get("case"), 80) or UNNAMED
            critical, graded = line.get("critical") is True, line.get("graded") is not False
            found.append(Asked(count(line.get("step")), name, critical, graded, old, new))
    return found


def skipped(samples: object) -> list[str]:
    """Cases that were never asked: too long for one of the releases."""
    return sorted({name for line in mappings(samples) for name in texts(line.get("skipped"))})


def _sample(value: object) -> Sample | None:
    if not isinstance(value, Mapping):
        return None
    one = mapping(value)
    first, total, gap = (number(one.get(f"{name}_seconds")) for name in ("first_token", "total", "token_gap"))
    error = one.get("error")
    return Sample(
        first, total, gap, None if error is None else text(error, 80) or "error", tuple(texts(one.get("failed")))
    )


def times(lines: Iterable[Asked], time: str) -> list[tuple[float, float]]:
    """Old and new, of the pairs that have this time on both sides."""
    found = []
    for line in lines:
        old = line.old.seconds(time) if line.old else None
        new = line.new.seconds(time) if line.new else None
        if sound(old) and sound(new):
            found.append((old, new))
    return found


def equal_load(samples: object, weights: Mapping[int | None, int | None]) -> set[int]:
    """The steps in which both sides carried the same, by the judge's own rule. ``weights``: in percent, by step."""
    by_step: dict[int | None, list[Mapping[str, Any]]] = {}
    for line in mappings(samples):
        by_step.setdefault(count(line.get("step")), []).append(line)
    return {
        place
        for place, found in by_step.items()
        if place is not None and window(found, Traffic(), Traffic(), weights.get(place) or 0).equal_load
    }


def spread(values: Sequence[float]) -> Spread | None:
    """None without values."""
    if not values:
        return None
    ordered = sorted(values)
    p5, p25, p50, p75, p95 = (quantile(ordered, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
    return Spread(len(ordered), p5, p25, p50, p75, p95, ordered[-1])


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, which are not empty: the least one that at least ``share`` of all stay within."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def cases(lines: Iterable[Asked]) -> list[Case]:
    """Cases with assertions; those that count against the new release come first, critical ones before others."""
    found: dict[str, Case] = {}
    for line in lines:
        if not line.graded:
            continue
        case = found.setdefault(line.case, Case(line.case))
        case.critical |= line.critical
        for side, sample in (("old", line.old), ("new", line.new)):
            if sample is None:
                continue
            case.asked[side] += 1
            if sample.error is not None:
                case.why[side][f"no answer: {sample.error}"] += 1
            elif sample.failed:
                case.why[side].update(set(sample.failed))
            else:
                case.passed[side] += 1
    order = ("lost", "none", "won", "alone", "same")
    return sorted(found.values(), key=lambda case: (order.index(case.says), not case.critical, case.name))


def errors(lines: Iterable[Asked]) -> list[tuple[str, int, int]]:
    """Kinds of errors, of cases with and without assertions: how often on the old side and on the new one."""
    kinds: dict[str, Counter[Any]] = {side: Counter() for side in SIDES}
    for line in lines:
        for side, sample in (("old", line.old), ("new", line.new)):
            if sample is not None and sample.error is not None:
                kinds[side][sample.error] += 1
    return [(kind, kinds["old"][kind], kinds["new"][kind]) for kind in sorted({*kinds["old"], *kinds["new"]})]
