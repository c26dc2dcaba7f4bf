"""From what a host said of a rollout while it went on to the phases of a load's record. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.bench.record import BROKEN, MOVING, QUIET, SETTLING, Phase

BEFORE_SECONDS: Final = 0.5
AFTER_SECONDS: Final = 2.0
"""Around each change of the split: the reload begins before the new split is served, and old workers end after it."""


@dataclass(frozen=True)
class Event:
    """How it stood from ``at`` on (monotonic seconds). ``split``: its revision as the router serves it."""

    at: float
    phase: str
    weight: int
    held: str | None
    split: str


@dataclass(frozen=True)
class Broken:
    """Something was killed on purpose, and how long that is felt."""

    began: float
    ended: float


def phases(events: Sequence[Event], broken: Sequence[Broken] = ()) -> list[Phase]:
    """Moves, what was broken, and the rest by the rollout's phase: quiet where no engine starts or stops."""
    if not events:
        return []
    moves = [now.at for last, now in pairwise(events) if now.split != last.split and now.split]
    edges = {event.at for event in events}
    edges |= {edge for at in moves for edge in (at - BEFORE_SECONDS, at + AFTER_SECONDS)}
    edges |= {edge for one in broken for edge in (one.began, one.ended)}
    found: list[Phase] = []
    for at in sorted(edges):
        phase = _phase(at, events, moves, broken)
        if not found or (found[-1].name, found[-1].sort) != (phase.name, phase.sort):
            found.append(phase)
    return found


def _phase(at: float, events: Sequence[Event], moves: Sequence[float], broken: Sequence[Broken]) -> Phase:
    if any(one.began <= at < one.ended for one in broken):
        return Phase(at, "broken", BROKEN)
    now = next((event for event in reversed(events) if event.at <= at), events[0])
    if any(move - BEFORE_SECONDS <= at < move + AFTER_SECONDS for move in moves):
        return Phase(at, "moves", MOVING)
    if now.phase == "idle":
        return Phase(at, "idle", QUIET)
    if now.phase in ("shifting", "soaking"):
        return Phase(at, "between moves", QUIET)
    return Phase(at, now.phase.replace("_", " "), SETTLING)
