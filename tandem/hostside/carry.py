"""Carries out what was decided: asks the routers, starts and stops engines. The caller holds the lock."""

import json
import os
from collections.abc import Iterable, Mapping

from tandem.domain.layout import Engine, Routing
from tandem.domain.rollout import State, routed
from tandem.domain.slots import engine_unit
from tandem.hostside import state as record
from tandem.hostside import traffic, units
from tandem.hostside.files import sync_directory, write_atomic
from tandem.hostside.paths import Paths


def route(state: State, wanted: Routing, who: str, paths: Paths) -> State:
    """Records this routing and lets the router take it; returns the state. If cut short, ``repair`` ends it.

    Raises NotTaken or SubprocessError when the router did not: the record holds then, and is tried again.
    """
    after = routed(state, wanted)
    with record.recorded(paths, "route", who, state, after):
        record.save(paths.state, after)
        traffic.render(after, traffic.differing(after, paths), paths)
    return after


def repair(state: State, paths: Paths) -> list[str]:
    """Makes the routers ask what is recorded; returns the names of the files that did not say so."""
    wrong = traffic.differing(state, paths)
    if wrong:
        traffic.render(state, wrong, paths)
    return sorted(wrong)


def start(engine: Engine, paths: Paths) -> None:
    """Lets it start, also at boot. Returns at once."""
    unit = engine_unit(engine.slot, engine.card)
    paths.parked.mkdir(parents=True, exist_ok=True)
    (paths.parked / unit).unlink(missing_ok=True)
    sync_directory(paths.parked)
    units.start(unit)


def stop(engine: Engine, paths: Paths) -> None:
    """Stops it for good: a boot does not start it again. Returns at once; what it is answering, it may finish."""
    park([engine], paths)
    units.stop(engine_unit(engine.slot, engine.card))


def park(engines: Iterable[Engine], paths: Paths) -> None:
    """They must not start, whoever asks for it."""
    paths.parked.mkdir(parents=True, exist_ok=True)
    for engine in engines:
        path = paths.parked / engine_unit(engine.slot, engine.card)
        if not path.exists():
            write_atomic(path, "", "0644", os.geteuid(), os.getegid())


def starts(paths: Paths) -> dict[str, float]:
    """Seconds from start to first completion by unit, as last measured."""
    try:
        found = json.loads(paths.starts.read_text(encoding="utf-8"))
        return {str(unit): float(seconds) for unit, seconds in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note_starts(measured: Mapping[str, float], paths: Paths) -> None:
    known = starts(paths)
    if {**known, **measured} != known:
        text = json.dumps({**known, **{unit: round(seconds, 1) for unit, seconds in measured.items()}}, indent=1)
        write_atomic(paths.starts, text + "\n", "0644", os.geteuid(), os.getegid())
