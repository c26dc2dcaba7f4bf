"""What serves, as recorded on the host, and the decisions that change the record. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from tandem.domain.advance import Comparison, Pacing, Rollout
from tandem.domain.layout import ConvertAt, Engine, Routing, Strategy, Swap
from tandem.domain.refused import Refused
from tandem.domain.slots import SLOTS, card_of, engine_port
from tandem.domain.window import rules

__all__ = ["Past", "Refused", "Slot", "State", "Webui", "adopt", "begin", "over", "planned", "routed", "routing"]


@dataclass(frozen=True)
class Slot:
    """A release in a slot.

    ``engine_ports``: of all its engines, as when it alone serves; ``asked``: those that the router asks now;
    ``weight``: its share of the requests in percent. ``model``: the name that clients ask for; ``revision``: of its
    model files; ``image``: its reference by digest. ``start_seconds``: measured from start to first completion; None:
    never.
    """

    release: str
    digest: str
    engine_ports: tuple[int, ...]
    weight: int
    asked: tuple[int, ...] = ()
    model: str = ""
    revision: str = ""
    image: str = ""
    start_seconds: float | None = None


@dataclass(frozen=True)
class Webui:
    """The WebUI that answers. It changes slot apart from the engines."""

    slot: str
    port: int


@dataclass(frozen=True)
class Past:
    """How the last rollout ended: ``finished`` or ``undone``, ``why``, and which release does not serve since then."""

    id: str
    outcome: str
    why: str
    at: str
    release: str
    digest: str
    revision: str = ""
    image: str = ""
    start_seconds: float | None = None


@dataclass(frozen=True)
class State:
    """What a host serves. Before the first install nothing does: ``serving`` is None and there are no slots.

    ``rollout``: the upgrade under way, None when there is none; ``past``: the one before. Raises ValueError for what
    cannot be.
    """

    serving: str | None = None
    slots: Mapping[str, Slot] = field(default_factory=dict)
    webui: Webui | None = None
    rollout: Rollout | None = None
    past: Past | None = None

    def __post_init__(self) -> None:
        unknown = self.slots.keys() - set(SLOTS)
        if unknown:
            raise ValueError(f"slot {min(unknown)!r} is none of {', '.join(SLOTS)}")
        if (self.serving is None) != (not self.slots) or (self.serving is None) != (self.webui is None):
            raise ValueError("serving, slots and webui must be given together or not at all")
        if self.serving is None:
            return
        if self.serving not in self.slots:
            raise ValueError(f"the serving slot {self.serving!r} holds no release")
        weights = [slot.weight for slot in self.slots.values()]
        # Nothing is asked at all while one card changes from one release to another (recreate).
        if sum(weights) not in ((0, 100) if self.rollout else (100,)) or min(weights) < 0:
            raise ValueError(f"the weights {weights} are not shares of 100 %")
        if any(slot.weight and not slot.asked for slot in self.slots.values()):
            raise ValueError("a slot with a share of the requests has no engine that is asked")
        if self.rollout and {self.rollout.swap.old, self.rollout.swap.new} != self.slots.keys():
            raise ValueError("a rollout is between the two slots that hold a release")
        if self.rollout is None and len(self.slots) > 1:
            raise ValueError("two slots hold a release, and there is no rollout")

    @property
    def phase(self) -> str:
        """``idle``, or the phase of the rollout."""
        return self.rollout.phase if self.rollout else "idle"

    @property
    def held(self) -> str | None:
        """Why a rollout does not go on by itself; None when it may."""
        return self.rollout.held if self.rollout else None

    @property
    def current(self) -> Slot | None:
        """The release that serves."""
        return self.slots[self.serving] if self.serving else None


def adopt(state: State, slot: str, wanted: Slot, webui_port: int) -> tuple[State, str]:
    """The state after an install that wants this release, and a sentence about it.

    The first install makes its release the serving one. Later ones never change what serves: that takes an upgrade.
    Raises Refused during a rollout, or when the same release is recorded at other ports.
    """
    if state.rollout is not None:
        raise Refused(
            f"a rollout is under way (state {state.phase}): install leaves engines, routers and WebUI alone until it "
            "has ended. Nothing was changed. Finish it or roll it back, then run install again."
        )
    current = state.current
    if current is None or state.serving is None:
        first = State(
            serving=slot,
            slots={slot: replace(wanted, weight=100, asked=wanted.engine_ports)},
            webui=Webui(slot, webui_port),
        )
        return first, f"release {wanted.release} ({wanted.digest}) serves from {slot}"
    if current.digest != wanted.digest:
        return state, (
            f"release {current.release} ({current.digest}) serves from {state.serving} and was left alone; "
            f"release {wanted.release} ({wanted.digest}) is wanted: upgrade is due"
        )
    if state.serving == slot and current.engine_ports != wanted.engine_ports:
        raise Refused(
            f"release {current.release} ({current.digest}) is recorded at ports {_list(current.engine_ports)}, and "
            f"install says {_list(wanted.engine_ports)} for the same release. Nothing was changed. "
            "Other cards or ports are another release: declare it and run upgrade."
        )
    known = replace(current, release=wanted.release, model=wanted.model, revision=wanted.revision, image=wanted.image)
    if known != current:
        slots = {**state.slots, state.serving: known}
        said = "is now called" if current.release != wanted.release else "is recorded with its model and image:"
        return replace(state, slots=slots), f"release {current.release} {said} {wanted.release}"
    return state, f"nothing to do: release {current.release} ({current.digest}) serves from {state.serving}"


def begin(state: State, new: Slot, rollout: Rollout) -> State:
    """The state once ``rollout`` to the release ``new`` has begun; nothing is asked of it yet.

    Raises Refused when there is nothing to upgrade from, another rollout is under way, or it serves already.
    """
    current, swap = state.current, rollout.swap
    if current is None:
        raise Refused("nothing serves yet. Nothing was changed. Run install first.")
    if state.rollout is not None:
        raise Refused(
            f"a rollout to {state.slots[state.rollout.swap.new].release} is under way (state {state.phase}). Nothing "
            "was changed. Let it end, or undo it with deploys/rollback.py; then run upgrade again."
        )
    if current.digest == new.digest:
        raise Refused(f"release {new.release} ({new.digest}) serves already. Nothing was changed.")
    used = sorted(card_of(swap.old, port) for port in current.engine_ports) if swap.old == state.serving else []
    if used and sorted(swap.cards) != used:
        raise Refused(
            f"release {current.release} runs on the cards {used} and the order names {sorted(swap.cards)}. "
            "Nothing was changed. An upgrade keeps the cards: name the same."
        )
    if swap.old != state.serving or swap.new == swap.old or new.weight or new.asked:
        raise Refused(
            f"a rollout from {swap.old} to {swap.new} can't begin while {state.serving} serves. Nothing was changed."
        )
    if new.model and current.model and new.model != current.model:
        raise Refused(
            f"release {new.release} serves the model as {new.model!r} and clients ask for {current.model!r}. "
            "Nothing was changed. Give both the same model/name."
        )
    return replace(state, slots={**state.slots, swap.new: new}, rollout=rollout)


def over(state: State, at: str) -> State:
    """The state once its rollout is ``finished`` or ``undone``: one release is left. ``at``: a date, for people.

    Raises ValueError while a rollout is not over.
    """
    rollout = state.rollout
    if rollout is None or rollout.phase not in ("finished", "undone"):
        raise ValueError("no rollout is over")
    stays, goes = rollout.swap.old, rollout.swap.new
    if rollout.phase == "finished":
        stays, goes = goes, stays
    gone = state.slots[goes]
    past = Past(
        rollout.id,
        rollout.phase,
        rollout.why,
        at,
        gone.release,
        gone.digest,
        gone.revision,
        gone.image,
        gone.start_seconds,
    )
    return replace(state, serving=stays, slots={stays: state.slots[stays]}, rollout=None, past=past)


def routing(state: State) -> Routing:
    """What the router is to ask."""
    engines = (Engine(name, card_of(name, port)) for name, slot in state.slots.items() for port in slot.asked)
    return Routing({name: slot.weight for name, slot in state.slots.items()}, frozenset(engines))


def routed(state: State, wanted: Routing) -> State:
    """The state with this routing."""
    ports = {
        name: tuple(sorted(engine_port(name, one.card) for one in wanted.engines if one.slot == name))
        for name in state.slots
    }
    slots = {
        name: replace(slot, weight=wanted.weights.get(name, 0), asked=ports[name]) for name, slot in state.slots.items()
    }
    return replace(state, slots=slots)


def planned(old: str, new: str, cards: tuple[int, ...], order: Mapping[str, Any], id: str, who: str) -> Rollout:
    """The rollout that ``order`` asks for: ``strategy``, ``convert_at``, ``pacing`` and ``comparison`` as upgrade sends
    them. Raises ValueError, KeyError or TypeError for what can't be one.
    """
    if order["strategy"] not in get_args(Strategy) or order["convert_at"] not in get_args(ConvertAt):
        raise ValueError(f"strategy {order['strategy']!r} with convert_at {order['convert_at']!r} is none")
    swap = Swap(old, new, cards, order["strategy"], order["convert_at"])
    pacing = Pacing(**{**order["pacing"], "weights": tuple(order["pacing"]["weights"])})
    comparison = Comparison(**order["comparison"])
    rules(comparison)
    return Rollout(swap, pacing, id=id, who=who, comparison=comparison)


def _list(ports: tuple[int, ...]) -> str:
    return ", ".join(str(port) for port in ports)
