"""tandem-guard: looks once a second, moves a rollout on or back, and takes a hung engine out. Needs no operator.

A guard that is dead moves nothing: the routers go on asking what they were told last.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

from tandem.domain.advance import ENDING, JUDGED, OVER, Rollout
from tandem.domain.guarding import Sight, concerned, decide, move
from tandem.domain.judge import Verdict
from tandem.domain.rollout import Refused, State, over
from tandem.hostside import carry, guard_settings, leftovers, lock, notify, reserve, units, webui_return
from tandem.hostside import state as record
from tandem.hostside.eyes import Eyes
from tandem.hostside.hands import Hands
from tandem.hostside.judging import Judging
from tandem.hostside.paths import Paths
from tandem.hostside.patience import Patience
from tandem.hostside.reminder import Reminder
from tandem.hostside.sight import boot_seconds, write_sight
from tandem.hostside.traffic import NotTaken

WHO: Final = "tandem-guard"
TICK_SECONDS: Final = 1.0
ORDERED_SECONDS: Final = 0.05
"""So soon an order that was recorded meanwhile is looked at."""
MOST_TICK_SECONDS: Final = 10.0
"""A longer pause between two looks (a host that slept) does not count as time that was watched."""
SAVE_SECONDS: Final = 10.0
TIDY_SECONDS: Final = 600.0
PROBER: Final = "tandem-prober"
TANDEMCTL: Final = "/usr/local/bin/tandemctl"
LOCK_SECONDS: Final = 0.5
PATIENT_LOOKS: Final = 30
"""Without the lock; then it is said who has it."""


@dataclass
class Memory:
    """What is remembered from look to look; nothing of it is needed after a restart."""

    looked: float | None = None
    arrived: bool = False
    saved: float = -math.inf
    tidied: float = -math.inf
    counted: Rollout | None = None
    said: str = ""
    waited: int = 0


class Guard:
    """One guard. ``tick`` is one look and what follows from it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        told = guard_settings.load(paths)
        self.eyes = Eyes(paths, told.hang_seconds, told.ready_seconds, told.idle_seconds)
        self.hands = Hands(paths, WHO, self.eyes, told.drain_seconds)
        self.patience = Patience(told.ready_seconds, told.drain_seconds)
        self.judging = Judging(paths)
        self.memory = Memory()
        self.reminder = Reminder(paths)
        self.mending: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Raises nothing that a later look could not mend: it is said, and tried again."""
        self.reminder.look()
        try:
            self._mend_webui()
            with lock.lock(self.paths.lock, WHO, "watch", LOCK_SECONDS):
                self._look()
        except lock.LockHeld:
            self.memory.waited += 1
            if self.memory.waited == PATIENT_LOOKS:
                print(f"waits: {lock.holder(self.paths.lock)} changes the host", file=sys.stderr, flush=True)
            return
        except (Refused, NotTaken, OSError, subprocess.SubprocessError) as error:
            self._say(f"could not go on: {error}")
        except (ValueError, KeyError, TypeError, AttributeError):
            # A fault of this program: what is seen is kept, and the next look may find another state.
            traceback.print_exc()
        self.memory.waited = 0

    def close(self) -> None:
        self.eyes.close()

    def _mend_webui(self) -> None:
        """A WebUI switch that was cut short is undone by a process of its own: it may take minutes."""
        if webui_return.forsaken(self.paths) and (self.mending is None or self.mending.poll() is not None):
            self.mending = subprocess.Popen([TANDEMCTL, "webui", "mend"], stdin=subprocess.DEVNULL)

    def _look(self) -> None:
        state, now = self._load(), boot_seconds()
        if now - self.memory.tidied >= TIDY_SECONDS:
            self.memory.tidied = now
            for path in leftovers.remove(self.paths):
                print(f"removed {path}: a write was cut short", flush=True)
        if state.current is None:
            self._publish(state, Sight(frozenset(), frozenset()), "nothing serves yet")
            return
        seconds = 0.0 if self.memory.looked is None else now - self.memory.looked
        self.memory.looked = now
        sight = self.eyes.see(state, now)
        tell_systemd("WATCHDOG=1")
        if state.rollout:
            seconds = seconds if 0 < seconds <= MOST_TICK_SECONDS else 0.0
            counted = seconds if self.memory.arrived else 0.0
            verdict = self._verdict(state)
            sight = replace(sight, seconds=counted)
            if verdict:
                sight = replace(sight, outcome=verdict.outcome, reasons=verdict.reasons)
            sight = replace(sight, lost=self.patience.lost(state, sight, move(state, sight), seconds))
            state = self._advance(state, sight, now)
        step = move(state, sight)
        self.memory.arrived = step is None
        if state.rollout is None and step is None:
            state = self._know_start(state)
        try:
            doing = self.hands.carry(state, step, sight, now)
        except (NotTaken, OSError, subprocess.SubprocessError) as error:
            doing = f"could not go on: {error}"
            self._say(doing)
        tell_systemd("WATCHDOG=1")
        state = self._load()
        self.hands.mend(state, sight, now)
        self._start_prober(state)
        self._publish(state, sight, doing)

    def _load(self) -> State:
        """The record, with the seconds that were counted since it was saved."""
        state = record.load(self.paths.state)
        rollout, counted = state.rollout, self.memory.counted
        if rollout is None or counted is None or (rollout.id, rollout.step) != (counted.id, counted.step):
            return state
        spent = max(rollout.spent_seconds, counted.spent_seconds)
        peak = max(rollout.peak_engines, counted.peak_engines)
        return replace(state, rollout=replace(rollout, spent_seconds=spent, peak_engines=peak))

    def _verdict(self, state: State) -> Verdict | None:
        """None where nothing is judged, or can be: an engine that dies is seen all the same."""
        try:
            return self.judging.verdict(state, self.memory.arrived) if state.phase in JUDGED else None
        except OSError as error:
            self._say(f"nothing can be judged: {error}")
            return None

    def _advance(self, state: State, sight: Sight, now: float) -> State:
        before = state.rollout
        after, sentence = decide(state, sight)
        if after is None or before is None:
            return state
        changed = replace(state, rollout=after)
        self.memory.counted = after
        if after.phase in OVER:
            changed = over(changed, datetime.now(UTC).isoformat(timespec="seconds"))
        elif after.phase == "comparing" and before.phase == "staging":
            changed = self._with_start(changed, after.swap.new)
        if _without_counts(after) != _without_counts(before):
            reserve.use_if_needed(self.paths)
            try:
                self.judging.keep(before, sight.outcome, sight.reasons, now)
            except OSError as error:
                self._say(f"the report will lack step {before.step}: {error}")
            with record.recorded(self.paths, sentence or after.phase, WHO, state, changed):
                record.save(self.paths.state, changed)
            self._tell(state, changed, sentence)
        elif after != before and now - self.memory.saved >= SAVE_SECONDS:
            self.memory.saved = now
            try:
                record.save(self.paths.state, changed)
            except OSError as error:
                self._say(f"the time that was watched is not recorded: {error}")
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
        names = [one.unit for one in concerned(state) if one.slot == slot]
        took = [known[name] for name in names if name in known]
        measured = replace(state.slots[slot], start_seconds=max(took) if took else None)
        return replace(state, slots={**state.slots, slot: measured})

    def _tell(self, before: State, after: State, sentence: str) -> None:
        print(sentence or after.phase, flush=True)
        new = before.slots[before.rollout.swap.new].release if before.rollout else ""
        if after.held and after.held != before.held:
            stands = {"rolling_back": "can't be undone", "finishing": "can't be finished"}.get(after.phase, "is held")
            notify.tell("hold", f"the rollout to {new} {stands}: {after.held}", self.paths, release=new)
        elif after.phase == "rolling_back" and before.phase != "rolling_back":
            why = after.rollout.why if after.rollout else ""
            notify.tell("rollback", f"the rollout to {new} is rolled back: {why}", self.paths, release=new)
        elif after.rollout is None and after.past and after.past.outcome == "finished":
            notify.tell("finish", f"release {new} serves alone", self.paths, release=new)

    def _start_prober(self, state: State) -> None:
        if state.phase in JUDGED:
            shown = units.show([PROBER]).get(PROBER)
            if shown and shown.load == "loaded" and shown.active in ("inactive", "failed"):
                units.start(PROBER)

    def _publish(self, state: State, sight: Sight, doing: str) -> None:
        judged = self.judging.last if state.phase in JUDGED else None
        if judged and not doing:
            doing = f"{self.judging.pairs} pairs compared so far: {judged.outcome}"
        write_sight(
            {
                "rollout": state.rollout.id if state.rollout else None,
                "doing": doing,
                "engines": self.eyes.shown(sight),
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


def _stamp(paths: Paths) -> tuple[int, int] | None:
    """Another one after every change of the record: it is replaced, never written into."""
    try:
        found = os.stat(paths.state)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _next(state: State) -> str:
    """When it goes on by itself, for people."""
    rollout = state.rollout
    if rollout is None:
        return ""
    if rollout.held:
        return "goes on by itself once that is mended" if rollout.phase in ENDING else "held: goes on when you say so"
    pacing = rollout.pacing
    window = {"shifting": pacing.window_seconds, "soaking": pacing.soak_seconds}.get(rollout.phase)
    if window is None:
        return ""
    left = max(0.0, window - rollout.spent_seconds)
    return f"goes on in {left:.0f} s if the comparison passes" if left else "goes on once the comparison passes"


def _without_counts(rollout: Rollout) -> Rollout:
    return replace(rollout, spent_seconds=0.0, peak_engines=0.0)


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
            began, seen = time.monotonic(), _stamp(guard.paths)
            guard.tick()
            tell_systemd("WATCHDOG=1")
            ends.wait(ORDERED_SECONDS)
            while not ends.is_set() and time.monotonic() < began + TICK_SECONDS and _stamp(guard.paths) == seen:
                ends.wait(ORDERED_SECONDS)
    finally:
        guard.close()
    return 0
