"""How an upgrade can go on the cards there are, and what is carried meanwhile. Pure."""

import math
from dataclasses import dataclass

from tandem.domain.capacity_figures import (
    CONTEXT_MIB,
    MIB,
    RECREATE,
    REPLICAS,
    SIDE_BY_SIDE,
    TAKE_TURNS,
    Assessment,
)


@dataclass(frozen=True)
class Phase:
    """How many conversations of the longest kind the old and the new release carry during a part of an upgrade."""

    name: str
    old: float
    new: float


@dataclass(frozen=True)
class Sizes:
    """The largest sizes with which two slots share the cards."""

    kv_bytes: int
    """For kv-cache-memory-bytes."""
    utilization: float
    """For gpu-memory-utilization."""


def strategy(old: Assessment, new: Assessment) -> str:
    """How to go from ``old`` to ``new`` on the same cards; "" when either is refused."""
    if old.refusal or new.refusal:
        return ""
    if _share(old, new):
        return SIDE_BY_SIDE
    if old.topology == new.topology == REPLICAS and new.engines > 1:
        return TAKE_TURNS
    return RECREATE


def _share(old: Assessment, new: Assessment) -> bool:
    """Whether both fit the same cards and each, whichever starts last, finds free what it asks for.

    Only with explicit KV cache bytes: what vLLM measures at start beside a neighbour is unreliable.
    """

    def starts_beside(one: Assessment, other: Assessment) -> bool:
        free = one.room_bytes - other.need_bytes_per_card - CONTEXT_MIB * MIB
        return one.kv_explicit and one.utilization * one.card_bytes <= free

    together = old.need_bytes_per_card + new.need_bytes_per_card <= new.room_bytes
    return together and starts_beside(old, new) and starts_beside(new, old)


def sizes_to_share(one: Assessment) -> Sizes | None:
    """The largest sizes with which two such releases share the cards; None when one conversation would not fit."""
    half = one.room_bytes // 2
    kv_bytes = (half - one.fixed_bytes_per_card) // MIB * MIB
    if kv_bytes < one.request_bytes:
        return None
    need = one.fixed_bytes_per_card + kv_bytes
    return Sizes(kv_bytes, math.floor((one.room_bytes - need - CONTEXT_MIB * MIB) / one.card_bytes * 100) / 100)


def phases(old: Assessment, new: Assessment) -> tuple[Phase, ...]:
    """The parts of an upgrade from ``old`` to ``new``, and what is carried meanwhile; () when either is refused."""
    way = strategy(old, new)
    before, after = Phase("before", old.conversations, 0.0), Phase("after", 0.0, new.conversations)
    if way == SIDE_BY_SIDE:
        return (before, Phase("both serve", old.conversations, new.conversations), after)
    if way == TAKE_TURNS:
        left, first = (old.engines - 1) * old.conversations / old.engines, new.conversations / new.engines
        return (before, Phase("one card changes", left, 0.0), Phase("both serve", left, first), after)
    return (before, Phase("nothing serves", 0.0, 0.0), after) if way else ()
