"""The record of what serves (state.json) and of how it came to be (history.jsonl)."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tandem.domain.advance import PHASES, Comparison, Pacing, Rollout
from tandem.domain.layout import Swap
from tandem.domain.rollout import Past, Refused, Slot, State, Webui
from tandem.hostside import reserve
from tandem.hostside.files import append_line, write_atomic
from tandem.hostside.paths import Paths

SCHEMA = 2
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def load(path: Path) -> State:
    """The recorded state; that of a fresh host when there is no record. Raises Refused for a record we cannot read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return State()
    try:
        record = json.loads(text)
        schema = record["schema"]
        if type(schema) is int and schema > SCHEMA:
            raise Refused(
                f"{path} was written by a newer Tandem (schema {schema}, this one knows {SCHEMA}). "
                "Nothing was changed. Use the newer Tandem for this host."
            )
        return from_record(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else error
        raise Refused(
            f"{path} is damaged: {problem}. It was left untouched and nothing was changed. Put back what the last "
            f'result in {path.with_name("history.jsonl")} holds under "state".'
        ) from error


def save(path: Path, state: State) -> None:
    """Replace the record; a reader or a power cut sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_record(state), indent=2) + "\n"
    write_atomic(path, text, "0644", os.geteuid(), os.getegid())


def to_record(state: State) -> dict[str, Any]:
    """``state`` and ``held`` are there for readers; they follow from the rollout."""
    return {
        "schema": SCHEMA,
        "state": state.phase,
        "serving": state.serving,
        "slots": {name: asdict(slot) for name, slot in state.slots.items()},
        "webui": asdict(state.webui) if state.webui else None,
        "held": state.held,
        "rollout": asdict(state.rollout) if state.rollout else None,
        "past": asdict(state.past) if state.past else None,
    }


def from_record(record: dict[str, Any]) -> State:
    """The inverse of ``to_record``. Raises ValueError, KeyError, TypeError or AttributeError for what it cannot be."""
    schema = record["schema"]
    if schema == 1:
        record = _from_first(record)
    elif schema != SCHEMA:
        raise ValueError(f"schema {schema!r} is not {SCHEMA}")
    webui, rollout, past = record["webui"], record["rollout"], record["past"]
    return State(
        serving=record["serving"],
        slots={name: _slot(slot) for name, slot in record["slots"].items()},
        webui=Webui(**webui) if webui is not None else None,
        rollout=_rollout(rollout) if rollout is not None else None,
        past=Past(**past) if past is not None else None,
    )


def _from_first(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew no rollouts: all engines of the one release are asked."""
    if record["state"] != "idle" or record["held"] is not None:
        raise ValueError(f"state {record['state']!r} is unknown in schema 1")
    slots = {name: {**slot, "asked": slot["engine_ports"]} for name, slot in record["slots"].items()}
    return {**record, "slots": slots, "rollout": None, "past": None}


def _slot(record: dict[str, Any]) -> Slot:
    return Slot(**{**record, "engine_ports": tuple(record["engine_ports"]), "asked": tuple(record["asked"])})


def _rollout(record: dict[str, Any]) -> Rollout:
    swap, pacing = record["swap"], record["pacing"]
    if record["phase"] not in PHASES:
        raise ValueError(f"phase {record['phase']!r} is none of {', '.join(PHASES)}")
    return Rollout(
        **{
            **record,
            "swap": Swap(**{**swap, "cards": tuple(swap["cards"])}),
            "pacing": Pacing(**{**pacing, "weights": tuple(pacing["weights"])}),
            "comparison": Comparison(**record["comparison"]),
        }
    )


@contextmanager
def recorded(paths: Paths, action: str, who: str, before: State, after: State) -> Iterator[None]:
    """Write the intent, run the block, write the result: ``done`` with the new state, or ``failed`` and why.

    An intent without a result means that the block was cut short.
    """
    paths.history.parent.mkdir(parents=True, exist_ok=True)
    reserve.use_if_needed(paths)
    entry = {"id": secrets.token_hex(4), "action": action, "who": who}
    _append(paths.history, {**entry, "event": "intent", "from": to_record(before), "to": to_record(after)})
    try:
        yield
    except BaseException as error:
        _append(paths.history, {**entry, "event": "result", "outcome": "failed", "error": type(error).__name__})
        raise
    _append(paths.history, {**entry, "event": "result", "outcome": "done", "state": to_record(after)})


def _append(path: Path, entry: dict[str, Any]) -> None:
    """``at`` is for people; order and spans come from the boot-time clock, which nobody can set."""
    moment = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "boot_id": BOOT_ID.read_text(encoding="ascii").strip(),
        "boot_seconds": round(time.clock_gettime(time.CLOCK_BOOTTIME), 3),
    }
    append_line(path, json.dumps({**moment, **entry}))
