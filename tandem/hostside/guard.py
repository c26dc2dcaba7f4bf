"""tandem-guard: looks once a second, moves a rollout on or back, and takes a hung engine out. Needs no operator.

A guard that is dead moves nothing: the routers go on asking what they were told last.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from tandem.domain.advance import JUDGED, OVER, Rollout
from tandem.domain.guarding import Sight, concerned, decide, move, target_of
from tandem.domain.layout import Engine, Move, Route, Start, Stop, Wait
from tandem.domain.rollout import Refused, State, over
from tandem.domain.slots import engine_port, engine_unit
from tandem.hostside import carry, lock, notify, units
from tandem.hostside import state as record
from tandem.hostside.engines import Watcher
from tandem.hostside.judging import Judging
from tandem.hostside.paths import Paths
from tandem.hostside.reminder import Reminder
from tandem.hostside.sight import boot_seconds, write_sight
from tandem.hostside.traffic import NotTaken

WHO: Final = "tandem-guard"
TICK_SECONDS: Final = 1.0
MOST_TICK_SECONDS: Final = 10.0
"""A longer pause between two looks (a host that slept) does not count as time that was watched."""
SAVE_SECONDS: Final = 10.0
REPAIR_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 2.0
"""Without a request for so long, an engine that is asked no more has answered all."""
FAULTY_DRAIN_SECONDS: Final = 30.0
RESTART_SECONDS: Final = (30.0, 60.0, 120.0, 300.0, 600.0)
PROBER: Final = "tandem-prober"
LOCK_SECONDS: Final = 0.5
PATIENT_LOOKS: Final = 30
"""Without the lock; then it is said who has it."""


@dataclass
class Memory:
    """What is remembered from look to look; nothing of it is needed after a restart."""

    looked: float | None = None
    arrived: bool = False
    saved: float = -math.inf
    counted: tuple[str, int, float] | None = None
    repaired: float = -math.inf
    quiet_since: dict[Engine, float] = field(default_factory=dict)
    stopping_since: dict[Engine, float] = field(default_factory=dict)
    loading_since: dict[Engine, float] = field(default_factory=dict)
    restarts: dict[Engine, int] = field(default_factory=dict)
    restarted: dict[Engine, float] = field(default_factory=dict)
    broken_since: dict[Engine, float] = field(default_factory=dict)
    said: str = ""
    waited: int = 0


class Guard:
    """One guard. ``tick`` is one look and what follows from it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.settings = settings(paths)
        self.watcher = Watcher(paths, self.settings["hang_seconds"])
        self.judging = Judging(paths)
        self.memory = Memory()
        self.reminder = Reminder(paths)

    def tick(self) -> None:
        """Raises nothing that a later look could not mend: it is said, and tried again."""
        self.reminder.look()
        try:
            with lock.lock(self.paths.lock, WHO, "watch", LOCK_SECONDS):
                self._look()
        except lock.LockHeld:
            self.memory.waited += 1
            if self.memory.waited == PATIENT_LOOKS:
                print(f"waits: {lock.holder(self.paths.lock)} changes the host", file=sys.stderr, flush=True)
            return
        except (Refused, NotTaken, OSError, subprocess.SubprocessError) as error:
            self._say(f"could not go on: {error}")
        self.memory.waited = 0

    def close(self) -> None:
        self.watcher.close()

    def _look(self) -> None:
        state, now = self._load(), boot_seconds()
        if state.current is None:
            self._publish(state, Sight(frozenset(), frozenset()), "nothing serves yet")
            return
        seconds = 0.0 if self.memory.looked is None else now - self.memory.looked
        self.memory.looked = now
        sight = self._see(state, now)
        if state.rollout:
            counted = seconds if self.memory.arrived and 0 < seconds <= MOST_TICK_SECONDS else 0.0
            verdict = self.judging.verdict(state) if state.phase in JUDGED else None
            sight = replace(sight, seconds=counted)
            if verdict:
                sight = replace(sight, outcome=verdict.outcome, reasons=verdict.reasons)
            state = self._advance(state, sight, now)
        step = move(state, sight)
        self.memory.arrived = step is None
        if state.rollout is None and step is None:
            state = self._know_start(state)
        doing = self._carry(state, step, sight, now)
        state = self._load()
        self._mend(state, sight, now)
        self._start_prober(state)
        self.reminder.look()
        self._publish(state, sight, doing)

    def _load(self) -> State:
        """The record, with the seconds that were counted since it was saved."""
        state = record.load(self.paths.state)
        rollout, counted = state.rollout, self.memory.counted
        if rollout and counted and (rollout.id, rollout.step) == counted[:2] and counted[2] > rollout.spent_seconds:
            return replace(state, rollout=replace(rollout, spent_seconds=counted[2]))
        return state

    def _see(self, state: State, now: float) -> Sight:
        engines = sorted(concerned(state))
        shown = units.show([_unit(one) for one in engines])
        running = frozenset(one for one in engines if _runs(shown.get(_unit(one))))
        target = target_of(state)
        wanted = (target.running if target else frozenset()) & running
        self.watcher.set({_unit(one): engine_port(one.slot, one.card) for one in wanted})
        seen = self.watcher.seen()
        faults = {one: seen[_unit(one)][0].fault for one in wanted if _unit(one) in seen and seen[_unit(one)][0].fault}
        faults |= self._gone(state, wanted, shown)
        completed = {one: made for one in wanted if (made := self.watcher.completes(_unit(one)))}
        for one in list(faults):
            since = self.memory.broken_since.setdefault(one, now)
            made = completed.get(one)
            if made and made.boot_seconds > since:
                self.watcher.renew(_unit(one))
                del faults[one]
        for one in list(self.memory.broken_since):
            if one not in faults:
                del self.memory.broken_since[one]
        faults |= self._not_ready_in_time(state, wanted - completed.keys(), now)
        ready = frozenset(completed) - faults.keys()
        models = {_unit(one): state.slots[one.slot].model for one in wanted if one not in ready}
        self.watcher.prove({unit: model for unit, model in models.items() if model})
        self._measure(completed)
        return Sight(running, ready, faults, engines=sum(look.cache for _, look in seen.values()))

    def _gone(self, state: State, wanted: frozenset[Engine], shown: Mapping[str, units.Unit]) -> dict[Engine, str]:
        """Engines that are asked and do not even run."""
        asked = {one for one in _asked(state) if one not in wanted}
        target = target_of(state)
        lost = asked & (target.running if target else frozenset())
        return {one: f"{_unit(one)} does not run: {_word(shown.get(_unit(one)))}" for one in lost}

    def _not_ready_in_time(self, state: State, loading: frozenset[Engine], now: float) -> dict[Engine, str]:
        """New engines that have loaded for longer than an engine may."""
        since = self.memory.loading_since
        for one in list(since):
            if one not in loading:
                del since[one]
        for one in loading:
            since.setdefault(one, now)
        limit = self.settings["ready_seconds"]
        new = state.rollout.swap.new if state.rollout else None
        return {
            one: f"{_unit(one)} has completed no request {now - began:.0f} s after its start"
            for one, began in since.items()
            if one.slot == new and now - began > limit
        }

    def _measure(self, completed: Mapping[Engine, Any]) -> None:
        found = {_unit(one): made.first_completion_seconds for one, made in completed.items()}
        known = carry.starts(self.paths)
        fresh = {
            unit: seconds
            for unit, seconds in found.items()
            if seconds is not None and abs(known.get(unit, -1.0) - seconds) > 0.1 and unit not in self.judging.measured
        }
        self.judging.measured |= set(found)
        if fresh:
            carry.note_starts(fresh, self.paths)

    def _advance(self, state: State, sight: Sight, now: float) -> State:
        before = state.rollout
        after, sentence = decide(state, sight)
        if after is None or before is None:
            return state
        changed = replace(state, rollout=after)
        self.memory.counted = (after.id, after.step, after.spent_seconds)
        if after.phase in OVER:
            changed = over(changed, datetime.now(UTC).isoformat(timespec="seconds"))
        elif after.phase == "comparing" and before.phase == "staging":
            changed = self._with_start(changed, after.swap.new)
        if _without_counts(after) != _without_counts(before):
            self.judging.keep(before, sight.outcome, sight.reasons, now)
            with record.recorded(self.paths, sentence or after.phase, WHO, state, changed):
                record.save(self.paths.state, changed)
            self._tell(state, changed, sentence)
        elif after != before and now - self.memory.saved >= SAVE_SECONDS:
            record.save(self.paths.state, changed)
            self.memory.saved = now
        return changed

    def _know_start(self, state: State) -> State:
        """What serves was started before anybody watched: its start is known once it was measured."""
        current, slot = state.current, state.serving
        if current is None or slot is None or current.start_seconds is not None:
            return state
        known = self._with_start(state, slot)
        if known != state:
            record.save(self.paths.state, known)
        return known

    def _with_start(self, state: State, slot: str) -> State:
        known = carry.starts(self.paths)
        names = [_unit(one) for one in concerned(state) if one.slot == slot]
        took = [known[name] for name in names if name in known]
        measured = replace(state.slots[slot], start_seconds=max(took) if took else None)
        return replace(state, slots={**state.slots, slot: measured})

    def _tell(self, before: State, after: State, sentence: str) -> None:
        print(sentence or after.phase, flush=True)
        new = before.slots[before.rollout.swap.new].release if before.rollout else ""
        if after.held and after.held != before.held:
            notify.tell("hold", f"the rollout to {new} is held: {after.held}", self.paths, release=new)
        elif after.phase == "rolling_back" and before.phase != "rolling_back":
            why = after.rollout.why if after.rollout else ""
            notify.tell("rollback", f"the rollout to {new} is rolled back: {why}", self.paths, release=new)
        elif after.rollout is None and after.past and after.past.outcome == "finished":
            notify.tell("finish", f"release {new} serves alone", self.paths, release=new)

    def _carry(self, state: State, step: Move | None, sight: Sight, now: float) -> str:
        """Does it, and says what it does or waits for."""
        for engine in list(self.memory.stopping_since):
            if not isinstance(step, Stop) or step.engine != engine:
                del self.memory.stopping_since[engine]
        match step:
            case Route(routing=wanted):
                carry.route(state, wanted, WHO, self.paths)
                shares = (
                    ", ".join(f"{share} % to {slot}" for slot, share in wanted.weights.items()) or "nothing is asked"
                )
                return f"routed: {shares}"
            case Start(engine=engine):
                carry.start(engine, self.paths)
                return f"starts {_unit(engine)}"
            case Stop(engine=engine):
                return self._stop(engine, sight, now)
            case Wait(engines=engines):
                names = ", ".join(
                    f"{_unit(one)} ({now - self.memory.loading_since.get(one, now):.0f} s)" for one in engines
                )
                return f"waits until a request is completed by {names}"
        return ""

    def _stop(self, engine: Engine, sight: Sight, now: float) -> str:
        """Once it has answered what it was asked."""
        unit = _unit(engine)
        since = self.memory.stopping_since.setdefault(engine, now)
        shown = units.show([unit]).get(unit)
        if shown and shown.active == "deactivating":
            return f"waits until {unit} has stopped"
        busy = self._busy(engine)
        if busy:
            self.memory.quiet_since.pop(engine, None)
        quiet = now - self.memory.quiet_since.setdefault(engine, now) if not busy else 0.0
        limit = FAULTY_DRAIN_SECONDS if busy is None or engine in sight.faults else self.settings["drain_seconds"]
        if quiet < QUIET_SECONDS and now - since < limit:
            return f"waits until {unit} has answered {busy or 0:.0f} requests"
        self.memory.quiet_since.pop(engine, None)
        carry.stop(engine, self.paths)
        return f"stops {unit}"

    def _busy(self, engine: Engine) -> float | None:
        """Requests that it has; None when it does not say."""
        from tandem.hostside.engines import look

        seen = look(_unit(engine), engine_port(engine.slot, engine.card), None)
        if seen.refused:
            return 0.0
        return seen.running + seen.waiting if seen.answered else None

    def _mend(self, state: State, sight: Sight, now: float) -> None:
        """Restarts what hangs, ever more rarely, and puts right what the routers are to ask."""
        if now - self.memory.repaired >= REPAIR_SECONDS:
            self.memory.repaired = now
            for name in carry.repair(state, self.paths):
                print(f"the split {name} was not as recorded: put right", flush=True)
        new = state.rollout.swap.new if state.rollout else None
        for engine in sorted(sight.faults):
            asked = engine in _asked(state)
            alone = not any(one.slot == engine.slot and one != engine for one in _asked(state) & sight.ready)
            if engine.slot == new or engine not in sight.running or (asked and not alone):
                continue
            tries = self.memory.restarts.get(engine, 0)
            pause = RESTART_SECONDS[min(tries, len(RESTART_SECONDS)) - 1] if tries else 0.0
            if now - self.memory.restarted.get(engine, -math.inf) >= pause:
                self.memory.restarts[engine], self.memory.restarted[engine] = tries + 1, now
                print(f"{sight.faults[engine]}: restarts {_unit(engine)}", flush=True)
                units.restart_soon(_unit(engine))
        for engine in list(self.memory.restarts):
            if engine in sight.ready and now - self.memory.restarted[engine] > RESTART_SECONDS[-1]:
                del self.memory.restarts[engine]

    def _start_prober(self, state: State) -> None:
        if state.phase in JUDGED:
            shown = units.show([PROBER]).get(PROBER)
            if shown and shown.load == "loaded" and shown.active in ("inactive", "failed"):
                units.start(PROBER)

    def _publish(self, state: State, sight: Sight, doing: str) -> None:
        seen = self.watcher.seen()
        engines = {
            unit: {
                "ready": any(_unit(one) == unit for one in sight.ready),
                "fault": vital.fault,
                "running": look.running,
                "waiting": look.waiting,
                "tokens": look.tokens,
            }
            for unit, (vital, look) in sorted(seen.items())
        }
        judged = self.judging.last if state.phase in JUDGED else None
        if judged and not doing:
            doing = f"{self.judging.pairs} pairs compared so far: {judged.outcome}"
        write_sight(
            {
                "rollout": state.rollout.id if state.rollout else None,
                "doing": doing,
                "engines": engines,
                "verdict": asdict(judged) if judged else None,
                "traffic": self.judging.traffic(state.slots) if state.rollout else {},
                "next": _next(state),
            },
            self.paths,
        )

    def _say(self, sentence: str) -> None:
        if sentence != self.memory.said:
            print(sentence, file=sys.stderr, flush=True)
            self.memory.said = sentence


def settings(paths: Paths) -> dict[str, Any]:
    """What install rendered for the guard; its defaults where nothing is."""
    found = {"hang_seconds": 120.0, "ready_seconds": 1800.0, "drain_seconds": 3600.0}
    try:
        return {**found, **json.loads(paths.guard_settings.read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        return found


def _next(state: State) -> str:
    """When it goes on by itself, for people."""
    rollout = state.rollout
    if rollout is None:
        return ""
    if rollout.held:
        return "held: goes on when you say so"
    pacing = rollout.pacing
    window = {"shifting": pacing.window_seconds, "soaking": pacing.soak_seconds}.get(rollout.phase)
    if window is None:
        return ""
    left = max(0.0, window - rollout.spent_seconds)
    return f"goes on in {left:.0f} s if the comparison passes" if left else "goes on once the comparison passes"


def _without_counts(rollout: Rollout) -> Rollout:
    return replace(rollout, spent_seconds=0.0, peak_engines=0.0)


def _asked(state: State) -> set[Engine]:
    return {
        one
        for one in concerned(state)
        if one.slot in state.slots and engine_port(one.slot, one.card) in state.slots[one.slot].asked
    }


def _unit(engine: Engine) -> str:
    return engine_unit(engine.slot, engine.card)


def _runs(unit: units.Unit | None) -> bool:
    return unit is not None and unit.load == "loaded" and unit.active not in ("inactive", "failed")


def _word(unit: units.Unit | None) -> str:
    return f"{unit.active} ({unit.result})" if unit and unit.load == "loaded" else "there is no such unit"


def tell_systemd(word: str) -> None:
    """READY=1 or WATCHDOG=1, where systemd listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.sendall(word.encode())


def main(paths: Paths | None = None) -> int:
    """Runs until SIGTERM."""
    os.umask(0o022)
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    guard = Guard(paths or Paths())
    tell_systemd("READY=1")
    try:
        while not ends.is_set():
            began = time.monotonic()
            guard.tick()
            tell_systemd("WATCHDOG=1")
            ends.wait(max(0.1, TICK_SECONDS - (time.monotonic() - began)))
    finally:
        guard.close()
    return 0
