"""All that is known about one rollout, for the report that is made on the operator's machine."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tandem.domain.rollout import Refused, State
from tandem.hostside import state as record
from tandem.hostside.paths import Paths
from tandem.hostside.samples import warily

DESCRIBED: Final = ("release", "digest", "model", "revision", "image", "start_seconds")


def report(id: str | None, paths: Paths) -> dict[str, Any]:
    """Of the rollout under way, else of the last one, or of the one named. Raises Refused where there is none."""
    now = record.load(paths.state)
    last = now.rollout.id if now.rollout else now.past.id if now.past else None
    wanted = id or last
    if wanted is None or not (wanted == last or (paths.rollouts / wanted).is_dir()):
        known = ", ".join(sorted(path.name for path in paths.rollouts.glob("*"))) or "none"
        raise Refused(f"no rollout {wanted or ''} is known. Nothing was changed. Known are: {known}.")
    entries = list(_lines(paths.history))
    ours = {entry.get("id") for entry in entries if _concerns(entry, wanted)}
    history = [entry for entry in entries if entry.get("id") in ours]
    return {
        "rollout": _described(now, wanted, history),
        "steps": list(_lines(paths.rollouts / wanted / "verdicts.jsonl")),
        "samples": list(_lines(paths.prober / f"{wanted}.jsonl")),
        "history": [
            {"at": entry.get("at"), "sentence": entry.get("action")}
            for entry in history
            if entry.get("event") == "result" and entry.get("outcome") == "done" and entry.get("action") != "route"
        ],
    }


def _described(now: State, id: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    states = [entry["state"] for entry in history if entry.get("event") == "result" and "state" in entry]
    during = [state for state in states if (state.get("rollout") or {}).get("id") == id]
    ended = [state["past"] for state in states if (state.get("past") or {}).get("id") == id]
    if now.past and now.past.id == id:
        ended.append(record.to_record(now)["past"])
    last = during[-1] if during else None
    if last is None:
        return {"id": id, **({"outcome": ended[-1]["outcome"], "why": ended[-1]["why"]} if ended else {})}
    rollout, slots = last["rollout"], last["slots"]
    sides = {
        side: {"slot": slot, **{name: slots[slot].get(name) for name in DESCRIBED}}
        for side, slot in (("old", rollout["swap"]["old"]), ("new", rollout["swap"]["new"]))
        if slot in slots
    }
    return {
        "id": id,
        "who": rollout["who"],
        "began_at": history[0].get("at") if history else None,
        **sides,
        "weight": rollout["weight"],
        "strategy": rollout["swap"]["strategy"],
        "outcome": ended[-1]["outcome"] if ended else rollout["phase"],
        "why": ended[-1]["why"] if ended else (rollout.get("held") or rollout.get("why") or ""),
    }


def _concerns(entry: dict[str, Any], id: str) -> bool:
    """An intent that begins, changes or ends this rollout."""
    states = [entry.get(name) or {} for name in ("from", "to")]
    return any((state.get("rollout") or {}).get("id") == id for state in states)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file of JSON lines; a damaged one is left out."""
    try:
        # Another user writes the samples: neither led elsewhere by a link nor kept waiting by a pipe.
        with open(path, encoding="utf-8", errors="replace", opener=warily) as file:
            lines = file.read().splitlines() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else []
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry
