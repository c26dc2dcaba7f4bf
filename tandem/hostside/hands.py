"""What the guard does after a look: routes, starts and stops engines, and restarts what hangs."""

import math
from typing import Final

from tandem.domain.guarding import Sight, target_of
from tandem.domain.layout import Engine, Move, Route, Start, Stop, Wait
from tandem.domain.rollout import State, routing
from tandem.hostside import carry, reserve, units
from tandem.hostside.engines import look
from tandem.hostside.eyes import Eyes
from tandem.hostside.paths import Paths

REPAIR_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 2.0
"""Without a request for so long, an engine that is asked no more has answered all."""
FAULTY_DRAIN_SECONDS: Final = 30.0
RESTART_SECONDS: Final = (30.0, 60.0, 120.0, 300.0, 600.0)


class Hands:
    """Remembers what it waits for; nothing of it is needed after a restart."""

    def __init__(self, paths: Paths, who: str, eyes: Eyes, drain_seconds: float) -> None:
        self.paths, self.who, self.eyes, self.drain_seconds = paths, who, eyes, drain_seconds
        self.repaired = -math.inf
        self.quiet_since: dict[Engine, float] = {}
        self.silent_since: dict[Engine, float] = {}
        self.stopping_since: dict[Engine, float] = {}
        self.restarts: dict[Engine, int] = {}
        self.restarted: dict[Engine, float] = {}

    def carry(self, state: State, step: Move | None, sight: Sight, now: float) -> str:
        """Does it, and says what it does or waits for."""
        for engine in list(self.stopping_since):
            if not isinstance(step, Stop) or step.engine != engine:
                del self.stopping_since[engine]
                self.quiet_since.pop(engine, None)
        match step:
            case Route(routing=wanted):
                carry.route(state, wanted, self.who, self.paths)
                shares = (
                    ", ".join(f"{share} % to {slot}" for slot, share in wanted.weights.items()) or "nothing is asked"
                )
                return f"routed: {shares}"
            case Start(engine=engine):
                self.eyes.broken_since.pop(engine, None)
                carry.start(engine, self.paths)
                return f"starts {engine.unit}"
            case Stop(engine=engine):
                return self._stop(state, engine, sight, now)
            case Wait(engines=engines):
                names = ", ".join(
                    f"{one.unit} ({now - self.eyes.loading_since.get(one, now):.0f} s)" for one in engines
                )
                return f"waits until a request is completed by {names}"
        return ""

    def _stop(self, state: State, engine: Engine, sight: Sight, now: float) -> str:
        """Once it has answered what it was asked."""
        unit = engine.unit
        since = self.stopping_since.setdefault(engine, now)
        shown = units.show([unit]).get(unit)
        if shown and shown.active == "deactivating":
            return f"waits until {unit} has stopped"
        busy = self._busy(engine)
        # What is silent for a moment may be busy with answers: only what says that it has none is quiet.
        if busy != 0:
            self.quiet_since.pop(engine, None)
        if busy is not None:
            self.silent_since.pop(engine, None)
        quiet = now - self.quiet_since.setdefault(engine, now) if busy == 0 else 0.0
        silent = now - self.silent_since.setdefault(engine, now) if busy is None else 0.0
        faulty = engine in sight.faults or engine in self.eyes.broken_since
        limit = FAULTY_DRAIN_SECONDS if faulty else self.drain_seconds
        if quiet < QUIET_SECONDS and silent < FAULTY_DRAIN_SECONDS and now - since < limit:
            return f"waits until {unit} has answered {busy or 0:.0f} requests"
        # A router that did not take what is recorded may still ask it.
        carry.repair(state, self.paths)
        for known in (self.quiet_since, self.silent_since, self.eyes.broken_since):
            known.pop(engine, None)
        carry.stop(engine, self.paths)
        return f"stops {unit}"

    def _busy(self, engine: Engine) -> float | None:
        """Requests that it has; None when it does not say."""
        seen = look(engine.unit, engine.port, None)
        if seen.refused:
            return 0.0
        return seen.running + seen.waiting if seen.answered else None

    def mend(self, state: State, sight: Sight, now: float) -> None:
        """Restarts what hangs, ever more rarely, and puts right what the routers are to ask."""
        if now - self.repaired >= REPAIR_SECONDS:
            self.repaired = now
            reserve.lay_in(self.paths)
            for name in carry.repair(state, self.paths):
                print(f"the split {name} was not as recorded: put right", flush=True)
        # A release on its way is undone instead; once it is to serve alone, nothing else is left.
        new = state.rollout.swap.new if state.rollout and state.phase != "finishing" else None
        target = target_of(state)
        for engine in sorted(sight.faults.keys() & (target.running if target else frozenset())):
            loading = now - self.eyes.loading_since.get(engine, -math.inf)
            if loading <= self.eyes.ready_seconds:
                continue  # this process was started again by somebody, and gets the time that a start takes
            asked = engine in routing(state).engines
            alone = not any(one.slot == engine.slot and one != engine for one in routing(state).engines & sight.ready)
            if engine.slot == new or engine not in sight.running or (asked and not alone):
                continue
            tries = self.restarts.get(engine, 0)
            pause = RESTART_SECONDS[min(tries, len(RESTART_SECONDS)) - 1] if tries else 0.0
            if now - self.restarted.get(engine, -math.inf) >= pause:
                self.restarts[engine], self.restarted[engine] = tries + 1, now
                self.eyes.loading_since.pop(engine, None)
                print(f"{sight.faults[engine]}: restarts {engine.unit}", flush=True)
                units.restart_soon(engine.unit)
        for engine in list(self.restarts):
            if engine in sight.ready and now - self.restarted[engine] > RESTART_SECONDS[-1]:
                del self.restarts[engine]
