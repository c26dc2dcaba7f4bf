"""What serves, as recorded on the host, and the decisions that change the record. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tandem.domain.slots import SLOTS

PHASES: Final = ("idle", "staging", "comparing", "shifting", "soaking", "finishing", "rolling_back")


class Refused(Exception):
    """Tandem will not do this. The message says why, that nothing was changed, and what to do instead."""


@dataclass(frozen=True)
class Slot:
    """A release in a slot. ``weight`` is its share of the requests in percent."""

    release: str
    digest: str
    engine_ports: tuple[int, ...]
    weight: int


@dataclass(frozen=True)
class Webui:
    """The WebUI that answers. It changes slot apart from the engines."""

    slot: str
    port: int


@dataclass(frozen=True)
class State:
    """What a host serves. Before the first install nothing does: ``serving`` is None and there are no slots.

    ``held`` says why a rollout does not go on by itself; None when it may. Raises ValueError for what cannot be.
    """

    phase: str = "idle"
    serving: str | None = None
    slots: Mapping[str, Slot] = field(default_factory=dict)
    webui: Webui | None = None
    held: str | None = None

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(f"state {self.phase!r} is none of {', '.join(PHASES)}")
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
        if sum(weights) != 100 or min(weights) < 0:
            raise ValueError(f"the weights {weights} are not shares of 100 %")

    @property
    def current(self) -> Slot | None:
        """The release that serves."""
        return self.slots[self.serving] if self.serving else None


def adopt(state: State, slot: str, wanted: Slot, webui_port: int) -> tuple[State, str]:
    """The state after an install that wants this release, and a sentence about it.

    The first install makes its release the serving one. Later ones never change what serves: that takes an upgrade.
    Raises Refused during a rollout, or when the same release is recorded at other ports.
    """
    if state.phase != "idle":
        raise Refused(
            f"a rollout is under way (state {state.phase}): install leaves engines, routers and WebUI alone until it "
            "has ended. Nothing was changed. Finish it or roll it back, then run install again."
        )
    current = state.current
    if current is None or state.serving is None:
        first = State(serving=slot, slots={slot: replace(wanted, weight=100)}, webui=Webui(slot, webui_port))
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
    if current.release != wanted.release:
        renamed = replace(current, release=wanted.release)
        slots = {**state.slots, state.serving: renamed}
        return replace(state, slots=slots), f"release {current.release} is now called {wanted.release}"
    return state, f"nothing to do: release {current.release} ({current.digest}) serves from {state.serving}"


def _list(ports: tuple[int, ...]) -> str:
    return ", ".join(str(port) for port in ports)
