"""The engines on the status screen. Pure."""

from collections.abc import Mapping
from typing import Any

from tandem.domain.loose import count, items, mapping, text
from tandem.domain.screen_table import table
from tandem.domain.slots import ENGINE_BASE_PORT, card_of, engine_unit


def engines(status: Mapping[str, Any], guard: Mapping[str, Any], width: int) -> list[str]:
    """Every engine on record or seen by the guard. ``guard``: empty when it is not fresh; nothing is known then."""
    seen = mapping(guard.get("engines"))
    asked: dict[str, bool] = {}
    for name, value in mapping(status.get("slots")).items():
        slot = mapping(value)
        now = [count(port) for port in items(slot.get("asked"))]
        for port in items(slot.get("engine_ports")):
            known = count(port)
            if known is not None and known >= ENGINE_BASE_PORT.get(name, known + 1):
                unit = engine_unit(name, card_of(name, known))
                asked[unit] = known in now
    rows = []
    for unit in sorted({*asked, *seen}):
        one = mapping(seen.get(unit))
        running, waiting = count(one.get("running")), count(one.get("waiting"))
        rows.append(
            [
                text(unit),
                {True: "yes", False: "no"}[asked[unit]] if unit in asked else "unknown",
                _state(one, asked.get(unit, False)) if one else "unknown",
                "" if running is None else f"{running}",
                "" if waiting is None else f"{waiting}",
                text(one.get("fault")),
            ]
        )
    return _faults_last(rows, width) if rows else []


def _state(one: Mapping[str, Any], asked: bool) -> str:
    if one.get("ready") is True:
        return "ready"
    if text(one.get("fault")):
        return "BROKEN"
    if one.get("ready") is False:
        return "NOT READY" if asked else "not ready"
    return "unknown"


def _faults_last(rows: list[list[str]], width: int) -> list[str]:
    """The fault is a sentence: it stands at the left of what is left of the line."""
    numbers = table(["engine", "asked", "state", "running", "waiting"], [row[:5] for row in rows], 3, width)
    if not any(row[5] for row in rows):
        return numbers
    wide = max(len(line) for line in numbers)
    faults = [f"{line:<{wide}}  {fault}" for line, fault in zip(numbers, ["fault", *(r[5] for r in rows)], strict=True)]
    return [line if len(line) <= width else line[: width - 3] + "..." for line in faults]
