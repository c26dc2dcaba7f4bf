"""The plots of the comparison report as inline SVG: colours come from the page, every number in them is finite."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

from markupsafe import Markup, escape

from tandem.report_figures import Spread, quantile

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 50
CURVE_POINTS: Final = 160
MOST_TICKS: Final = 7
LINE_HEIGHT: Final = 15

Scale = Callable[[float], float]


def seconds(value: float) -> str:
    """A time with the unit that suits it."""
    for least, factor, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms")):
        if value >= least:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e6:.3g} µs"


def curves(old: Sequence[float], new: Sequence[float], name: str) -> Markup:
    """The share of answers that took at most so long, of both sides; neither is empty, all are above 0."""
    low, high = _range([*old, *new])
    across = _log(low, high, LEFT, WIDTH - RIGHT)
    parts = [_share_grid(), *_time_grid(low, high, across)]
    said = []
    for side, values in (("old", sorted(old)), ("new", sorted(new))):
        middle = quantile(values, 0.5)
        parts.append(f'<path class="line {side}" d="{_curve(values, across)}"/>')
        parts.append(f'<circle class="dot {side}" cx="{across(middle):.1f}" cy="{_up(0.5):.1f}" r="5"/>')
        said.append(f"{side}: half within {seconds(middle)}, 95 % within {seconds(quantile(values, 0.95))}")
    parts.append(_words(f"{name}, logarithmic", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8))
    return _svg(f"Share of answers by {name}", "; ".join(said), parts)


def boxes(steps: Sequence[tuple[str, Spread, Spread]], name: str) -> Markup:
    """Both sides step by step: label, old, new; at least one step. Lines reach from the 5th to the 95th percentile,
    boxes over the middle half, the bar is the median.
    """
    low, high = _range([value for _, *sides in steps for one in sides for value in (one.p5, one.p95)])
    up = _log(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<path class="grid" d="M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}"/>'
        + _words(seconds(value), LEFT - 6, up(value) + 4, "end")
        for value in ticks(low, high)
    ]
    room = (WIDTH - RIGHT - LEFT) / len(steps)
    half = min(11.0, room / 5)
    said = []
    for place, (label, old, new) in enumerate(steps):
        middle = LEFT + room * (place + 0.5)
        parts += [_box(old, "old", middle - half * 1.2, half, up), _box(new, "new", middle + half * 1.2, half, up)]
        for line, word in enumerate(label.split("\n")):
            parts.append(_words(word, middle, HEIGHT - BOTTOM + LINE_HEIGHT * (line + 1)))
        said.append(f"{label.replace(chr(10), ', ')}: old {seconds(old.p50)}, new {seconds(new.p50)}")
    return _svg(f"{name} by step, medians", "; ".join(said), parts)


def share_bar(weight: float | None, realised: float | None) -> Markup:
    """A column of 100 %: the new release's share from below, a mark where the realised one was. In percent."""
    parts = ['<rect class="rest" x="2" y="2" width="44" height="100"/>']
    if weight is not None:
        tall = min(100.0, max(0.0, weight))
        parts = [f'<rect class="box old" x="2" y="2" width="44" height="{100 - tall:.1f}"/>'] if tall < 100 else []
        if tall:
            parts.append(f'<rect class="box new" x="2" y="{102 - tall:.1f}" width="44" height="{tall:.1f}"/>')
    if realised is not None:
        parts.append(f'<path class="mark" d="M0 {102 - min(100.0, max(0.0, realised)):.1f}H48"/>')
    said = "share unknown" if weight is None else f"{weight:.0f} % to the new release"
    said += "" if realised is None else f", {realised:.1f} % realised"
    return Markup('<svg class="share" viewBox="0 0 48 104" role="img" aria-label="{}">').format(said) + _joined(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within, about MOST_TICKS: of a logarithmic axis, or of a linear one where that is too short."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for parts, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 3), ((1,), 4)):
        found = [part * 10.0**power for power in range(first, last + 1, every) for part in parts]
        found = [value for value in found if low <= value <= high]
        if len(found) <= MOST_TICKS:
            break
    if len(found) > 2:
        return found
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(power * one for one in (1, 2, 5, 10) if (high - low) / (power * one) <= MOST_TICKS - 1)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A little more than they span, so that equal ones have room too."""
    low, high = min(values), max(values)
    return low / 1.1, high * 1.1


def _log(low: float, high: float, start: float, end: float) -> Scale:
    span = math.log(high) - math.log(low)
    return lambda value: start + (end - start) * (math.log(value) - math.log(low)) / span


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _curve(ordered: Sequence[float], across: Scale) -> str:
    """Steps from 0 to 100 %, thinned out to CURVE_POINTS."""
    points = min(CURVE_POINTS, len(ordered))
    shares = [(number + 1) / points for number in range(points)]
    corners = [(across(quantile(ordered, share)), _up(share)) for share in shares]
    path = f"M{across(ordered[0]):.1f} {_up(0):.1f}V{corners[0][1]:.1f}"
    return path + "".join(f"H{x:.1f}V{y:.1f}" for (_, _), (x, y) in pairwise(corners))


def _box(one: Spread, side: str, middle: float, half: float, up: Scale) -> str:
    top, bottom = up(one.p75), up(one.p25)
    left, wide, tall = middle - half, 2 * half, max(1.0, bottom - top)
    above = f"M{middle:.1f} {up(one.p95):.1f}V{top:.1f}"
    below = f"M{middle:.1f} {bottom:.1f}V{up(one.p5):.1f}"
    return (
        f'<path class="line {side}" d="{above}{below}"/>'
        f'<rect class="box {side}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
        f'<path class="mark" d="M{left:.1f} {up(one.p50):.1f}h{wide:.1f}"/>'
    )


def _share_grid() -> str:
    lines = [
        f'<path class="grid" d="M{LEFT} {_up(share):.1f}H{WIDTH - RIGHT}"/>'
        + _words(f"{100 * share:.0f} %", LEFT - 6, _up(share) + 4, "end")
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return "".join(lines)


def _time_grid(low: float, high: float, across: Scale) -> Iterable[str]:
    for value in ticks(low, high):
        yield f'<path class="grid" d="M{across(value):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield _words(seconds(value), across(value), HEIGHT - BOTTOM + 16)


def _words(said: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _svg(title: str, said: str, parts: Iterable[str]) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}. {}">')
    return head.format(WIDTH, HEIGHT, title, said) + _joined(parts)


def _joined(parts: Iterable[str]) -> Markup:
    """The parts hold numbers and escaped words only."""
    return Markup("".join(parts) + "</svg>")  # noqa: S704
