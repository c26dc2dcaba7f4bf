"""What the guard does at one moment: the rollout's next step, and the next move of engines and requests. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tandem.domain.advance import ENDING, OVER, Facts, Rollout, advance
from tandem.domain.judge import INCONCLUSIVE
from tandem.domain.layout import Engine, Layout, Move, Routing, Seen, Stuck, next_move, wanted
from tandem.domain.rollout import State, routing
from tandem.domain.slots import card_of


@dataclass(frozen=True)
class Sight:
    """What is seen. ``running``: also those that start or stop; ``ready``: completed a request and are sound;
    ``faults``: what broke, by engine. ``seconds`` since the last look; ``outcome`` of the judge, and its ``reasons``;
    ``engines``: what all conversations take, in engines full of them; ``lost``: why an end is not awaited any longer.
    """

    running: frozenset[Engine]
    ready: frozenset[Engine]
    faults: Mapping[Engine, str] = field(default_factory=dict)
    seconds: float = 0.0
    outcome: str = INCONCLUSIVE
    reasons: tuple[str, ...] = ()
    engines: float = 0.0
    lost: str = ""


def decide(state: State, sight: Sight) -> tuple[Rollout | None, str]:
    """How the rollout stands after this look, and a sentence if that is worth one; (None, "") when there is none."""
    rollout = state.rollout
    if rollout is None:
        return None, ""
    step = move(state, sight)
    if isinstance(step, Stuck):
        names = ", ".join(f"vllm-{one.slot}-{one.card}" for one in step.engines)
        held = replace(rollout, held=f"{names}: no card is free while what serves may not stop")
        return held, "" if held == rollout else f"held: {held.held}"
    facts = Facts(
        arrived=step is None,
        seconds=sight.seconds if step is None else 0.0,
        outcome=sight.outcome,
        reasons=sight.reasons,
        old_fault=_fault(state, sight, rollout.swap.old, any_of_them=False),
        new_fault=_fault(state, sight, rollout.swap.new, any_of_them=True),
        engines=sight.engines,
    )
    if rollout.phase in ENDING and sight.lost and not rollout.held:
        return replace(rollout, held=sight.lost), f"held: {sight.lost}"
    return advance(rollout, facts)


def move(state: State, sight: Sight) -> Move | None:
    """The next move towards what is wanted; None when all is as wanted (or nothing serves yet)."""
    target = target_of(state)
    if target is None:
        return None
    rollout = state.rollout
    without = replace(target, routing=_ejected(target.routing, sight))
    seen = Seen(Layout(sight.running, routing(state)), sight.ready)
    shares_cards = rollout is not None and rollout.swap.shares_cards
    return next_move(seen, without, shares_cards, gap=rollout is not None and _may_gap(rollout, seen, sight))


def _may_gap(rollout: Rollout, seen: Seen, sight: Sight) -> bool:
    """Nothing is lost by asking nobody: it was consented to, or all that is asked is dead and the way back needs its
    cards.
    """
    asked = seen.layout.routing.engines
    dead = asked <= sight.faults.keys() | (asked - seen.layout.running)
    return rollout.swap.strategy == "recreate" or (rollout.phase == "rolling_back" and dead)


def target_of(state: State) -> Layout | None:
    """The layout that the rollout's phase wants; without a rollout, all engines of what serves."""
    rollout, current = state.rollout, state.current
    if current is None or state.serving is None:
        return None
    if rollout is not None and rollout.phase not in OVER:
        target = wanted(rollout.swap, rollout.phase, rollout.weight)
        if rollout.lean is None:
            return target
        # Only requests lean: no card is converted because the old release is dead.
        return replace(target, routing=Routing({rollout.lean: 100}, target.routing.engines))
    engines = frozenset(Engine(state.serving, card_of(state.serving, port)) for port in current.engine_ports)
    return Layout(engines, Routing({state.serving: 100}, engines))


def left(state: State, sight: Sight) -> int:
    """How much differs from what is wanted: engines to stop and to start, to get ready, and to be asked or not."""
    target = target_of(state)
    if target is None:
        return 0
    now = routing(state)
    differ = (target.running ^ sight.running, target.running - sight.ready, target.routing.engines ^ now.engines)
    return sum(map(len, differ)) + (target.routing.weights != now.weights)


def waits_for(state: State, sight: Sight) -> str:
    """What is missing to what is wanted, by engine."""
    target = target_of(state)
    if target is None:
        return "nothing is wanted"
    found = [
        sight.faults.get(one) or f"{one.unit} {'completes no request' if one in sight.running else 'does not run'}"
        for one in sorted(target.running - sight.ready)
    ]
    found += [f"{one.unit} does not stop" for one in sorted(sight.running - target.running)]
    return "; ".join(found) or "the routers do not ask what they should"


def concerned(state: State) -> frozenset[Engine]:
    """Every engine whose state matters: those of both slots on all cards in question."""
    rollout, found = state.rollout, set()
    for name, slot in state.slots.items():
        found |= {card_of(name, port) for port in (*slot.engine_ports, *slot.asked)}
    cards = found | set(rollout.swap.cards if rollout else ())
    return frozenset(Engine(slot, card) for slot in ("blue", "green") for card in cards)


def _ejected(target: Routing, sight: Sight) -> Routing:
    """Without the engines that broke, where their slot has a sound one left."""
    sound = {engine for engine in target.engines & sight.ready if engine not in sight.faults}
    shared = {engine.slot for engine in sound}
    left = {engine for engine in target.engines if engine not in sight.faults or engine.slot not in shared}
    return Routing(target.weights, frozenset(left))


def _fault(state: State, sight: Sight, slot: str, any_of_them: bool) -> str:
    """What broke of the engines that ``slot`` should have or is asked for; "" while one is enough and one is left."""
    target = target_of(state)
    needed = {one for one in (target.running if target else frozenset()) | routing(state).engines if one.slot == slot}
    broken = {engine: sight.faults[engine] for engine in sorted(needed) if engine in sight.faults}
    if not broken or (len(broken) < len(needed) and not any_of_them):
        return ""
    return "; ".join(broken.values())
