"""Whether an engine is alive, from one look at it per second. Pure.

A slow answer of a busy engine is no fault: only a process that ended, a port that is closed, or counters that stand
still while there is work. Whoever stops an engine on purpose stops watching it first.
"""

from dataclasses import dataclass, replace
from typing import Final

REFUSALS: Final = 3
"""Looks in a row that find the port of an engine closed."""

MOST_GAP_SECONDS: Final = 30.0
"""Longer between two looks: the host slept or the watcher did, and what was counted before says nothing."""

RUNNING: Final = ("active", "reloading", "refreshing")


@dataclass(frozen=True)
class Look:
    """What one look found. ``boot_seconds``: of the boot-time clock; ``unit``: systemd's ActiveState, "" if it could
    not be asked (then ``restarts``, its count of automatic restarts, says nothing either).

    ``refused``: the port is closed; ``answered``: /metrics was read; neither: the port is open and nothing came.
    ``running``, ``waiting``: requests; ``tokens``: read and made since the process started, None if not known;
    ``cache``: the share of its memory for conversations that is used; ``ordered``: systemd is to start or stop it.
    """

    boot_seconds: float
    unit: str = ""
    restarts: int = 0
    refused: bool = False
    answered: bool = False
    running: float = 0.0
    waiting: float = 0.0
    tokens: float | None = None
    cache: float = 0.0
    ordered: bool = False


@dataclass(frozen=True)
class Vital:
    """What is remembered of an engine's looks, and its ``fault``: a sentence, "" if there is none.

    ``proven``: its /metrics was read before. One that never answered is loading, however long that takes: only a unit
    that failed or was started again is a fault then. A fault ends when what made it ends; automatic restarts are never
    forgotten: begin a new vital for an engine that completes again.
    ``still_seconds``: it had work and no token counter moved, as of its last answer, at ``answered``;
    ``silent_since``: its port is open and it says nothing.
    """

    name: str
    proven: bool = False
    seen: float | None = None
    restarts: int | None = None
    was_active: bool = False
    refusals: int = 0
    requests: float = 0.0
    tokens: float | None = None
    answered: float | None = None
    still_seconds: float = 0.0
    silent_since: float | None = None
    fault: str = ""


def observe(vital: Vital, look: Look, hang_seconds: float) -> Vital:
    """What is remembered after this look. ``hang_seconds``: longer than the longest prefill, which moves no counter."""
    if vital.seen is not None and not 0.0 <= look.boot_seconds - vital.seen <= MOST_GAP_SECONDS:
        vital = replace(vital, refusals=0, answered=None, still_seconds=0.0, silent_since=None)
    vital = replace(_answers(_unit(vital, look), look), seen=look.boot_seconds)
    return replace(vital, fault=_fault(vital, look, hang_seconds))


def _unit(vital: Vital, look: Look) -> Vital:
    if not look.unit:
        return vital
    # systemd counts from 0 again when somebody starts a unit by hand.
    restarts = look.restarts if vital.restarts is None else min(vital.restarts, look.restarts)
    return replace(vital, restarts=restarts, was_active=vital.was_active or look.unit in RUNNING)


def _answers(vital: Vital, look: Look) -> Vital:
    if look.refused:
        return replace(vital, refusals=vital.refusals + 1, silent_since=None)
    if not look.answered:
        since = look.boot_seconds if vital.silent_since is None else vital.silent_since
        return replace(vital, refusals=0, silent_since=since)
    requests = look.running + look.waiting if look.tokens is not None else 0.0
    still = 0.0
    if requests and vital.requests and vital.answered is not None and look.tokens == vital.tokens:
        still = vital.still_seconds + look.boot_seconds - vital.answered
    return replace(
        vital,
        proven=True,
        refusals=0,
        requests=requests,
        tokens=look.tokens,
        answered=look.boot_seconds,
        still_seconds=still,
        silent_since=None,
    )


def _fault(vital: Vital, look: Look, hang_seconds: float) -> str:
    name, more = vital.name, look.restarts - (vital.restarts or 0)
    if look.unit == "failed":
        return f"the unit of {name} has failed"
    if look.unit and more > 0:
        return f"{name} ended by itself and was started again {more} time{'s' if more > 1 else ''}"
    if look.unit == "deactivating" and vital.was_active and look.ordered:
        return f"{name} was told to stop or to start again: its unit is {look.unit}"
    if look.unit and vital.was_active and look.unit not in RUNNING:
        return f"{name} does not run any more: its unit is {look.unit}"
    if not vital.proven:
        return ""
    if vital.refusals >= REFUSALS:
        return f"{name} refused the last {vital.refusals} connections"
    silent = 0.0 if vital.silent_since is None else look.boot_seconds - vital.silent_since
    if silent > hang_seconds:
        return f"{name} accepts connections and has not said its counters for {silent:.0f} s"
    if vital.still_seconds > hang_seconds:
        count = f"{vital.requests:.0f} request{'' if vital.requests == 1 else 's'}"
        return f"{name} has {count} and made no token for {vital.still_seconds:.0f} s"
    return ""
