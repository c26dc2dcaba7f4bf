"""Orders to a rollout: begin, move, hold, resume, finish, undo. Each is one change of the record; the guard carries it
out, and traffic goes back at once even where no guard is.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from tandem.domain import advance, guarding
from tandem.domain.advance import ENDING
from tandem.domain.guarding import Sight
from tandem.domain.layout import Engine, Route
from tandem.domain.option import option
from tandem.domain.rollout import Refused, Slot, State, begin, planned
from tandem.domain.slots import SLOTS, engine_port, engine_unit
from tandem.hostside import carry, lock, preparing, units
from tandem.hostside import state as record
from tandem.hostside.arguments import BadInput
from tandem.hostside.engines import look
from tandem.hostside.failed import Failed
from tandem.hostside.paths import Paths
from tandem.hostside.probe import engine_target, probe_one
from tandem.hostside.sight import guard_age_seconds, read_sight

MOST_ORDER_BYTES: Final = 1 << 16
ACCEPTED_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 15.0
PROBE_SECONDS: Final = 3.0


class NotAccepted(Failed):
    """The order is on record, and nobody carries it out."""


class Ended(Failed):
    """What was followed ended in another way than it was begun for."""


def begin_upgrade(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    """Reads the order from standard input (JSON, as deploys/upgrade.py sends it)."""
    order = _order()
    with lock.lock(paths.lock, who, f"begin the upgrade to {order.get('release')}", options.wait_seconds):
        before = record.load(paths.state)
        after = _begun(before, order, user, paths)
        preparing.check(order, paths)
        with record.recorded(paths, "upgrade begin", user, before, after):
            record.save(paths.state, after)
        preparing.forget(paths)
    _accepted(after, paths)
    print(f"the guard has taken over the rollout to {order['release']}")


def _begun(before: State, order: dict[str, Any], user: str, paths: Paths) -> State:
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        slot, cards = str(order["slot"]), tuple(order["cards"])
        if slot not in SLOTS or not cards or not all(type(card) is int and 0 <= card < 100 for card in cards):
            raise ValueError(f"slot {slot!r} with cards {list(cards)} can't be")
        ports = tuple(engine_port(slot, card) for card in cards)
        word = {name: str(order[name]) for name in ("release", "digest", "model", "revision", "image")}
        new = Slot(
            word["release"],
            word["digest"],
            ports,
            weight=0,
            model=word["model"],
            revision=word["revision"],
            image=word["image"],
        )
        rollout = planned(before.serving or "", slot, cards, order, f"{moment}-{new.release}", user)
        if rollout.swap.strategy == "recreate" and order["allow_gap"] is not True:
            raise Refused(
                "recreate takes everything away for a while, and upgrade/allow_gap does not allow that. "
                "Nothing was changed."
            )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the order is not one of upgrade: {type(error).__name__}: {error}") from None
    files = [paths.containers / f"{engine_unit(slot, card)}.container" for card in cards]
    if missing := [file for file in files if not file.is_file()]:
        raise Refused(f"{missing[0]} is not there. Nothing was changed. Run deploys/upgrade.py, which writes it.")
    planned_units = order.get("units", {})
    for file in files:
        if planned_units and hashlib.sha256(file.read_bytes()).hexdigest() != planned_units.get(file.name):
            raise Refused(
                f"{file} is not the unit of {new.release}: somebody else staged another release meanwhile. No rollout "
                "was begun. Agree on one release, then run deploys/upgrade.py for it again."
            )
    return begin(before, new, rollout)


def _accepted(state: State, paths: Paths) -> None:
    """Waits until the guard says that it sees this rollout. Raises NotAccepted."""
    deadline = time.monotonic() + ACCEPTED_SECONDS
    while time.monotonic() < deadline:
        seen = read_sight(paths)
        if state.rollout and seen and seen.get("rollout") == state.rollout.id:
            return
        time.sleep(0.2)
    raise NotAccepted(
        f"the rollout is on record, and tandem-guard has not taken it up after {ACCEPTED_SECONDS:.0f} s. "
        "Nothing moves, and what serves goes on. See journalctl -u tandem-guard; then: systemctl start tandem-guard."
    )


def steer(what: str, change: Callable[[advance.Rollout], advance.Rollout]) -> Callable[..., None]:
    """A command that changes the rollout under way."""

    def command(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
        with lock.lock(paths.lock, who, what, options.wait_seconds):
            before = record.load(paths.state)
            if before.rollout is None:
                raise Refused("no rollout is under way. Nothing was changed.")
            after = replace(before, rollout=change(before.rollout))
            if after == before:
                print("nothing to do")
                return
            with record.recorded(paths, what, user, before, after):
                record.save(paths.state, after)
        print(f"{what}: the guard carries it out")
        _say_if_silent(paths)

    return command


def move(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    share = options.weight
    steer(f"upgrade move {share}", lambda rollout: advance.move_to(rollout, share))(options, paths, who, user)


def hold(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    why = f"{options.why or 'held'} (by {user})"
    steer("upgrade hold", lambda rollout: advance.hold(rollout, why))(options, paths, who, user)


def resume(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    steer("upgrade resume", advance.resume)(options, paths, who, user)


def finish(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    steer("upgrade finish", advance.finish_now)(options, paths, who, user)


def rollback(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    """Undoes the rollout, traffic first: the router is told here and now. The guard stops what is left."""
    with lock.lock(paths.lock, who, "roll back", options.wait_seconds):
        before = record.load(paths.state)
        if before.rollout is None:
            print(_nothing_to_undo(before))
            return
        why = f"{options.why or 'undone'} (by {user})"
        after = replace(before, rollout=advance.undo(before.rollout, why))
        if after != before:
            with record.recorded(paths, "rollback", user, before, after):
                record.save(paths.state, after)
        after = _traffic_first(after, user, paths)
    old, new = (after.slots[slot] for slot in (before.rollout.swap.old, before.rollout.swap.new))
    if old.weight == 100:
        print(f"all requests go to release {old.release} again; {new.release} is stopped once it has answered the rest")
    else:
        meanwhile = f"{new.release} goes on answering" if new.weight else "nothing answers"
        starts = f"release {old.release} has no engine that answers yet, and is started"
        print(f"rolling back: {starts}; until then {meanwhile}")
    _say_if_silent(paths)


def _traffic_first(state: State, user: str, paths: Paths) -> State:
    """Routes to what the old release has ready now."""
    rollout = state.rollout
    if rollout is None:
        return state
    engines = guarding.concerned(state)
    shown = units.show([engine_unit(one.slot, one.card) for one in engines])
    running = frozenset(one for one in engines if _active(shown.get(engine_unit(one.slot, one.card))))
    old = [one for one in running if one.slot == rollout.swap.old]
    sight = Sight(running, frozenset(one for one in old if _sound(one, state, paths)))
    step = guarding.move(state, sight)
    return carry.route(state, step.routing, user, paths) if isinstance(step, Route) else state


def _active(unit: units.Unit | None) -> bool:
    return unit is not None and unit.active == "active"


def _sound(engine: Engine, state: State, paths: Paths) -> bool:
    """One that has a share answers although it is busy, unless the guard found it dead; another one has to complete a
    request: the engines of a slot without a share are asked for nothing, and may be why it has none.
    """
    port, unit = engine_port(engine.slot, engine.card), engine_unit(engine.slot, engine.card)
    slot = state.slots[engine.slot]
    if port in slot.asked and slot.weight and not _fault_seen(unit, paths):
        return look(unit, port, units.show([unit]).get(unit)).answered
    target = engine_target(f"{unit}=http://127.0.0.1:{port}", slot.model)
    return probe_one(target, paths.upstream_key.read_text(encoding="ascii").strip(), PROBE_SECONDS).ready


def _fault_seen(unit: str, paths: Paths) -> bool:
    seen, age = read_sight(paths), guard_age_seconds(paths)
    if seen is None or age is None or age > SILENT_SECONDS:
        return False
    return bool(seen.get("engines", {}).get(unit, {}).get("fault"))


def _nothing_to_undo(state: State) -> str:
    past, current = state.past, state.current
    if past is None or current is None:
        return "nothing to do: no rollout is under way, and none was before"
    if past.outcome == "undone":
        return f"nothing to do: the rollout to {past.release} is undone, release {current.release} serves"
    took = (
        f"about {past.start_seconds:.0f} s per engine" if past.start_seconds else "as long as its engines take to start"
    )
    return (
        f"nothing to do: the rollout is finished and release {current.release} serves. Release {past.release} is still "
        f"on disk: deploys/upgrade.py -y --data {option(past.release)} brings it back without a download; its start "
        f"takes {took}."
    )


def follow(options: argparse.Namespace, paths: Paths) -> None:
    """Tells how the rollout goes until it is over or held. Raises Ended when it did not finish."""
    told, told_at, id = "", 0.0, None
    while True:
        now = record.load(paths.state)
        if now.rollout is None:
            past = now.past
            if past is None or (id is not None and past.id != id):
                raise Ended("no rollout is under way.")
            if past.outcome == "undone":
                raise Ended(f"the rollout to {past.release} was undone: {past.why}. The release before serves.")
            print(f"finished: release {now.current.release if now.current else '?'} serves")
            return
        id = now.rollout.id
        if now.held:
            if now.phase in ENDING:
                raise Ended(f"{now.phase.replace('_', ' ')}: {now.held}. Mend that, then it goes on by itself.")
            raise Ended(
                f"held: {now.held}. Go on with deploys/upgrade.py -y --data move=resume, or undo it with "
                "deploys/rollback.py -y."
            )
        line = _progress(now, paths)
        shape = re.sub(r"\d+", "", line)
        if shape != told or time.monotonic() - told_at >= options.every_seconds:
            told, told_at = shape, time.monotonic()
            print(line, flush=True)
        time.sleep(1)


def _progress(now: State, paths: Paths) -> str:
    seen = read_sight(paths)
    doing = f": {seen['doing']}" if seen and seen.get("doing") else ""
    share = f" at {now.rollout.share} %" if now.rollout and now.phase in ("shifting", "soaking") else ""
    return f"{now.phase}{share}{doing}"


def _say_if_silent(paths: Paths) -> None:
    age = guard_age_seconds(paths)
    if age is None or age > SILENT_SECONDS:
        print(
            "tandem-guard is silent: nothing moves by itself. Start it: systemctl start tandem-guard", file=sys.stderr
        )


def _order() -> dict[str, Any]:
    text = sys.stdin.buffer.read(MOST_ORDER_BYTES + 1)
    try:
        order = json.loads(text) if len(text) <= MOST_ORDER_BYTES else None
    except ValueError:
        order = None
    if not isinstance(order, dict):
        raise BadInput("standard input is not the JSON object that upgrade sends.")
    return order
