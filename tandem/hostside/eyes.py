"""What the guard sees at a look: which engines run, which are ready, and what broke."""

import time
from collections.abc import Mapping
from typing import Any

from tandem.domain.guarding import Sight, concerned, target_of
from tandem.domain.layout import Engine
from tandem.domain.refused import Refused
from tandem.domain.rollout import State, routing
from tandem.hostside import carry, units
from tandem.hostside.engines import Watcher
from tandem.hostside.idle import Idle
from tandem.hostside.paths import Paths


class Eyes:
    """``loading_since``: when a process was first seen that has completed nothing yet; ``broken_since``: when a fault
    was first seen. Nothing of it is needed after a restart.
    """

    def __init__(self, paths: Paths, hang_seconds: float, ready_seconds: float, idle_seconds: float) -> None:
        self.paths = paths
        self.ready_seconds = ready_seconds
        self.watcher = Watcher(paths, hang_seconds)
        self.idle = Idle(paths, idle_seconds)
        self.loading_since: dict[Engine, float] = {}
        self.broken_since: dict[Engine, float] = {}
        self._measured: set[str] = set()
        self._born = time.monotonic()

    def close(self) -> None:
        self.watcher.close()
        self.idle.close()

    def see(self, state: State, now: float) -> Sight:
        """Raises Refused while systemd does not say what runs."""
        engines = sorted(concerned(state))
        shown = units.show([one.unit for one in engines])
        if not shown:
            raise Refused("systemd does not say what runs. Nothing is moved until it does.")
        running = frozenset(one for one in engines if _runs(shown.get(one.unit)))
        target = target_of(state)
        # Also what is asked and to be stopped: until it is routed away, it counts whether it answers.
        wanted = ((target.running if target else frozenset()) | routing(state).engines) & running
        self.watcher.set({one.unit: one.port for one in wanted})
        seen = self.watcher.seen()
        faults = {one: seen[one.unit][0].fault for one in wanted if one.unit in seen and seen[one.unit][0].fault}
        faults |= self._gone(state, wanted, shown)
        completed = {one: made for one in wanted if (made := self.watcher.completes(one.unit))}
        # A rollout has its prober.
        asked = routing(state).engines & completed.keys() - faults.keys() if state.rollout is None else ()
        models = {one: state.slots[one.slot].model for one in asked}
        looks = {unit: look for unit, (_, look) in seen.items()}
        faults = self.idle.look({one: model for one, model in models.items() if model}, wanted, looks, now) | faults
        new = state.rollout.swap.new if state.rollout else None
        for one in faults:
            if one.slot == new and self.watcher.started_again(one.unit):
                faults[one] = f"{one.unit} was started again during the rollout"
        for one in list(faults):
            since = self.broken_since.setdefault(one, now)
            made = completed.get(one)
            if made and made.boot_seconds > since:
                self.watcher.renew(one.unit)
                self.idle.forget(one)
                del faults[one]
        for one in list(self.broken_since):
            # One that is looked at no more, because it is to be stopped, is as dead as it was.
            if one not in faults and one in wanted:
                del self.broken_since[one]
        faults |= self._not_ready_in_time(state, wanted - completed.keys(), now)
        ready = frozenset(completed) - faults.keys()
        unproven = {one.unit: state.slots[one.slot].model for one in wanted if one not in ready}
        self.watcher.prove({unit: model for unit, model in unproven.items() if model})
        self._measure(completed)
        return Sight(running, ready, faults, engines=sum(look.cache for _, look in seen.values()))

    def _gone(self, state: State, wanted: frozenset[Engine], shown: Mapping[str, units.Unit]) -> dict[Engine, str]:
        """Engines that are asked and do not even run, or that systemd can't start: it has no such unit."""
        target = target_of(state)
        needed = (target.running if target else frozenset()) - wanted
        unknown = {one for one in needed if (unit := shown.get(one.unit)) is None or unit.load != "loaded"}
        lost = (routing(state).engines & needed) | unknown
        return {one: f"{one.unit} does not run: {_word(shown.get(one.unit))}" for one in lost}

    def _not_ready_in_time(self, state: State, loading: frozenset[Engine], now: float) -> dict[Engine, str]:
        """New engines that have loaded for longer than an engine may."""
        since = self.loading_since
        for one in list(since):
            if one not in loading:
                del since[one]
        for one in loading:
            since.setdefault(one, now)
        limit = self.ready_seconds
        new = state.rollout.swap.new if state.rollout else None
        return {
            one: f"{one.unit} has completed no request {now - began:.0f} s after its start"
            for one, began in since.items()
            if one.slot == new and now - began > limit
        }

    def _measure(self, completed: Mapping[Engine, Any]) -> None:
        # Of a process that is older than these eyes nobody knows when it completed its first request.
        young = {one: made for one, made in completed.items() if (made.started or 0.0) >= self._born}
        found = {one.unit: made.first_completion_seconds for one, made in young.items()}
        known = carry.starts(self.paths)
        fresh = {
            unit: seconds
            for unit, seconds in found.items()
            if seconds is not None and abs(known.get(unit, -1.0) - seconds) > 0.1 and unit not in self._measured
        }
        self._measured |= set(found)
        if fresh:
            carry.note_starts(fresh, self.paths)

    def shown(self, sight: Sight) -> dict[str, dict[str, Any]]:
        """Every engine that is looked at, for readers."""
        ready, faults = {one.unit for one in sight.ready}, {one.unit: fault for one, fault in sight.faults.items()}
        return {
            unit: {
                "ready": unit in ready,
                "fault": faults.get(unit, vital.fault),
                "running": look.running,
                "waiting": look.waiting,
                "tokens": look.tokens,
            }
            for unit, (vital, look) in sorted(self.watcher.seen().items())
        }


def _runs(unit: units.Unit | None) -> bool:
    """Also one whose start waits for its turn: at a boot an engine comes after the cards and the network."""
    return unit is not None and unit.load == "loaded" and (unit.active not in ("inactive", "failed") or unit.queued)


def _word(unit: units.Unit | None) -> str:
    return f"{unit.active} ({unit.result})" if unit and unit.load == "loaded" else "there is no such unit"
