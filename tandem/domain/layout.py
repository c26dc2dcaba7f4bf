"""Which engines run and which are asked, phase by phase, and the next move from what there is to what is wanted. Pure.

Nothing is remembered between moves: whoever carries them out looks anew after each, so that a run cut short anywhere,
or a host that booted in between, goes on from what it finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from tandem.domain.slots import engine_port, engine_unit

Strategy: TypeAlias = Literal["take-turns", "side-by-side", "recreate"]
ConvertAt: TypeAlias = Literal["soak_end", "full"]

STAGED: Final = ("staging", "comparing")


@dataclass(frozen=True, order=True)
class Engine:
    """The engine of ``slot`` on ``card``."""

    slot: str
    card: int

    @property
    def unit(self) -> str:
        return engine_unit(self.slot, self.card)

    @property
    def port(self) -> int:
        return engine_port(self.slot, self.card)


@dataclass(frozen=True)
class Routing:
    """Percent of the requests by slot, and the engines that are asked for it. Empty: nothing is asked (503).

    Engines of a slot without a share stand by for connections that fail.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    engines: frozenset[Engine] = frozenset()

    def __post_init__(self) -> None:
        shares = {slot: share for slot, share in sorted(self.weights.items()) if share}
        object.__setattr__(self, "weights", shares)
        if any(share < 0 for share in shares.values()) or sum(shares.values()) not in (0, 100):
            raise ValueError(f"the weights {dict(self.weights)} are not shares of 100 %")
        silent = shares.keys() - {engine.slot for engine in self.engines}
        if silent:
            raise ValueError(f"slot {min(silent)} has {shares[min(silent)]} % and no engine")
        if self.engines and not shares:
            raise ValueError("there are engines, and no slot has a share")


@dataclass(frozen=True)
class Layout:
    """Engines that run, and what is asked of them."""

    running: frozenset[Engine]
    routing: Routing


@dataclass(frozen=True)
class Seen:
    """What a host has. ``ready``: the running engines that completed a request just now."""

    layout: Layout
    ready: frozenset[Engine]


@dataclass(frozen=True)
class Route:
    """Let the router ask these."""

    routing: Routing


@dataclass(frozen=True)
class Stop:
    """Wait until it has answered what it was asked, then stop it."""

    engine: Engine


@dataclass(frozen=True)
class Start:
    engine: Engine


@dataclass(frozen=True)
class Wait:
    """Until these complete a request."""

    engines: tuple[Engine, ...]


@dataclass(frozen=True)
class Stuck:
    """These find no free card while what serves may not stop."""

    engines: tuple[Engine, ...]


Move: TypeAlias = Route | Stop | Start | Wait | Stuck


@dataclass(frozen=True)
class Swap:
    """One release taking the place of another on these cards. ``convert_at``: when take-turns gives the new one the
    rest of the cards: at the end of the soak (the old one stays able to serve) or at 100 %.
    """

    old: str
    new: str
    cards: tuple[int, ...]
    strategy: Strategy
    convert_at: ConvertAt = "soak_end"

    def __post_init__(self) -> None:
        if self.strategy == "take-turns" and len(self.cards) < 2:
            raise ValueError("take-turns needs two cards: with one, nothing would serve meanwhile (recreate)")

    @property
    def shares_cards(self) -> bool:
        """Whether engines of both may run on one card at the same time."""
        return self.strategy == "side-by-side"

    @property
    def first(self) -> tuple[int, ...]:
        """The cards that take-turns gives to the new release at the beginning: half of them, the last ones."""
        return self.cards[(len(self.cards) + 1) // 2 :]


def wanted(swap: Swap, phase: str, weight: int = 0) -> Layout:
    """What ``phase`` wants; ``weight`` is the new release's share in percent while shifting. Raises ValueError for a
    phase that is none of a rollout, or a weight that it can't have.
    """
    old, new = _engines(swap.old, swap.cards), _engines(swap.new, swap.cards)
    if phase == "rolling_back":
        return _serving(old, swap.old)
    if phase == "finishing":
        return _serving(new, swap.new)
    if phase not in (*STAGED, "shifting", "soaking"):
        raise ValueError(f"{phase!r} is no phase of a rollout")
    weight = {"staging": 0, "comparing": 0, "soaking": 100}.get(phase, weight)
    if not 0 <= weight <= 100:
        raise ValueError(f"{weight} is not a share between 0 and 100 %")
    if swap.strategy == "recreate":
        return Layout(new, Routing() if phase in STAGED else Routing({swap.new: 100}, new))
    if swap.strategy == "take-turns":
        if weight == 100 and swap.convert_at == "full":
            return _serving(new, swap.new)
        new = _engines(swap.new, swap.first)
        old = _engines(swap.old, [card for card in swap.cards if card not in swap.first])
    # What was not compared yet is not asked, not even when another one fails.
    asked = old if phase in STAGED else old | new
    return Layout(old | new, Routing({swap.old: 100 - weight, swap.new: weight}, asked))


def _engines(slot: str, cards: Sequence[int]) -> frozenset[Engine]:
    return frozenset(Engine(slot, card) for card in cards)


def _serving(engines: frozenset[Engine], slot: str) -> Layout:
    return Layout(engines, Routing({slot: 100}, engines))


def next_move(seen: Seen, target: Layout, shares_cards: bool, gap: bool = False) -> Move | None:
    """The next move towards ``target``; None when nothing is left to do.

    Traffic first, then what it left is stopped, then what is missing is started. An engine that is asked is never
    stopped. ``gap``: nothing may serve meanwhile (recreate), if there is no other way.
    """
    now = seen.layout
    routing = _best(target.routing, seen.ready, now.routing)
    if routing != now.routing:
        return Route(routing)
    for engine in sorted(now.running - target.running - now.routing.engines):
        return Stop(engine)
    missing = sorted(target.running - now.running)
    taken = {engine.card for engine in now.running}
    for engine in missing:
        if shares_cards or engine.card not in taken:
            return Start(engine)
    waited = tuple(sorted((target.running & now.running) - seen.ready))
    if waited:
        return Wait(waited)
    if missing:
        fewer = _without_one(now.routing, target, seen.ready, {engine.card for engine in missing})
        if fewer:
            return Route(fewer)
        if gap:
            return Route(Routing())
        # What is asked may only be loading, as after a boot: once it is ready, it can do without one of its engines.
        loading = tuple(sorted((now.routing.engines & now.running) - seen.ready))
        return Wait(loading) if loading else Stuck(tuple(missing))
    return None


def _best(target: Routing, ready: frozenset[Engine], now: Routing) -> Routing:
    """``target`` with those of its engines that are ready; what there is now while one of its shares has none, and
    where nothing is to be asked: that is only begun when it can't be helped.

    An engine that is asked already stays so while it is wanted: whether it is ejected is not decided here.
    """
    able = target.engines & (ready | now.engines)
    if not target.weights or target.weights.keys() - {engine.slot for engine in able & ready}:
        return now
    return Routing(target.weights, able)


def _without_one(now: Routing, target: Layout, ready: frozenset[Engine], cards: set[int]) -> Routing | None:
    """``now`` without one engine that has to go from one of ``cards``, if all its shares have a ready one left."""
    others = {one for one in target.routing.engines & ready if one.slot in now.weights}
    for engine in sorted(now.engines - target.running):
        left = (now.engines - {engine}) | others
        if engine.card in cards and not now.weights.keys() - {one.slot for one in left & ready}:
            return Routing(now.weights, left)
    return None
