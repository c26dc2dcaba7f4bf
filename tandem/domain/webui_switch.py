"""Another image of Open WebUI: what to do next, from what is recorded. Pure.

Two versions never share a database. The new one is tried on a copy, while the old one serves; then the page is closed,
the data is copied again, and the new one serves from the copy. The slot in ``Webui`` is the one whose data counts; its
port is ``CLOSED`` while nobody may write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tandem.domain.refused import Refused
from tandem.domain.rollout import State, Webui
from tandem.domain.slots import SLOTS, WEBUI_PORT

CLOSED: Final = 1
"""The port that refuses: the router then says that the page is back in a moment."""

SPARE_BYTES: Final = 512 << 20
OVERHEAD_SECONDS: Final = 3.0
"""Two changes of the router that are waited for, and a moment without chats."""
ESTABLISHED: Final = "01"


class Step(Enum):
    """``TRY``: start on a copy, check, stop. ``CLOSE``: let chats finish, answer 503. ``MOVE``: stop the old one, copy,
    start and check the new one, send people there. ``REOPEN``: start the old one, send people there. ``SETTLE``: what
    serves may start by itself, the other one may not.
    """

    TRY = "try"
    CLOSE = "close"
    MOVE = "move"
    REOPEN = "reopen"
    SETTLE = "settle"


@dataclass(frozen=True)
class Order:
    """What the operator wants: this image in this slot, which lists this model.

    ``ready_seconds``: how long a start may take; ``drain_seconds``: how long chats in progress may finish.
    """

    slot: str
    image: str
    model: str
    ready_seconds: float
    drain_seconds: float


@dataclass(frozen=True)
class Trial:
    """A start on a copy that passed. ``unit``: SHA-256 of the unit file that it was made with.

    ``signs_in``: whether the kept password of the administrator opens it: where the old one refuses it as well, that
    tells nothing.
    """

    slot: str
    image: str
    unit: str
    signs_in: bool
    copy_seconds: float
    start_seconds: float
    check_seconds: float
    stop_seconds: float

    @property
    def gap_seconds(self) -> float:
        """How long the page will be away, without the chats that have to finish first."""
        return OVERHEAD_SECONDS + self.stop_seconds + self.copy_seconds + self.start_seconds + self.check_seconds


@dataclass(frozen=True)
class Record:
    """What a switch must know after it was cut short. ``copy``: the slot whose data never served and may be removed.

    ``before``: the slot that the last switch left; there is a way back to it while the other one serves.
    ``gap_seconds``: how long the page was away in that switch.
    """

    copy: str | None = None
    trial: Trial | None = None
    before: str | None = None
    gap_seconds: float | None = None


def next_step(webui: Webui, record: Record, order: Order, unit: str) -> Step:
    """``unit``: SHA-256 of the wanted slot's unit file as it is now. ``SETTLE`` is the last one."""
    closed = webui.port == CLOSED
    if webui.slot == order.slot:
        return Step.REOPEN if closed else Step.SETTLE
    trial = record.trial
    passed = trial is not None and (trial.slot, trial.image, trial.unit) == (order.slot, order.image, unit)
    if closed:
        return Step.MOVE if passed else Step.REOPEN
    return Step.CLOSE if passed else Step.TRY


def other(slot: str) -> str:
    """The slot that is not this one."""
    return next(name for name in SLOTS if name != slot)


def serving(state: State) -> Webui:
    """The WebUI of a host where one can be changed. Raises Refused; never once the page is closed, which has to end."""
    if state.webui is None:
        raise Refused("nothing serves yet. Nothing was changed. Run install.")
    if state.phase != "idle" and state.webui.port != CLOSED:
        raise Refused(
            f"an engine rollout is under way (state {state.phase}): the WebUI comes after it. Nothing was changed. "
            "Finish it or roll it back, then run upgrade again."
        )
    return state.webui


def opened(slot: str) -> Webui:
    return Webui(slot, WEBUI_PORT[slot])


def room(path: str, needed: int, free: int) -> None:
    """Raises Refused when a copy of ``needed`` bytes does not leave enough free."""
    if free < needed + SPARE_BYTES:
        raise Refused(
            f"{path} has {_mib(free)} MiB free; a copy of Open WebUI's data needs {_mib(needed)} MiB, and "
            f"{_mib(SPARE_BYTES)} MiB have to stay free. Nothing was changed. Free some space, then run it again."
        )


def in_flight(sockets: Sequence[str], port: int) -> int:
    """How many connections to ``port`` there are. ``sockets``: the lines of /proc/net/tcp of the host."""
    rows = [line.split() for line in sockets[1:]]
    return sum(1 for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == ESTABLISHED)


def lost(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """A sentence for each kind of row that a migration did not keep."""
    return [
        f"{count} {kind} were there before it started, and {after.get(kind, 0)} after"
        for kind, count in before.items()
        if after.get(kind, 0) != count
    ]


def left_behind(newer: Mapping[str, int], older: Mapping[str, int]) -> int:
    """How many chats going back would leave: made or changed in the newer database. {id: time of the last change}."""
    return sum(1 for name, changed in newer.items() if name not in older or changed > older[name])


def consented(count: int, allowed: int | None) -> None:
    """Raises Refused unless that many chats may be left behind."""
    if count and (allowed is None or count > allowed):
        said = "" if allowed is None else f", and only {allowed} were allowed"
        raise Refused(
            f"going back would leave {count} chats behind, made or changed since the switch{said}. The newer database "
            "would be kept beside, but nobody would see them. Nothing was changed. If that is right, run: "
            f"tandemctl webui back --consent-chats {count}"
        )


def parse(value: object) -> Order:
    """The order as it comes from the operator. Raises ValueError for what is none; the text never holds a value."""
    kinds: dict[str, tuple[type, ...]] = {
        "slot": (str,),
        "image": (str,),
        "model": (str,),
        "ready_seconds": (int, float),
        "drain_seconds": (int, float),
    }
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        raise ValueError(f"the order must be one JSON object with exactly {', '.join(kinds)}")
    wrong = [name for name, kind in kinds.items() if not isinstance(value[name], kind) or value[name] is True]
    if value["slot"] not in SLOTS:
        wrong.append("slot")
    if wrong:
        raise ValueError(f"the order's {wrong[0]} can't be used")
    return Order(**value)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f}"
