"""Looks at engines once a second, and tries a real completion on those that have to prove themselves."""

import http.client
import math
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tandem.domain.watch import Look, Vital, observe
from tandem.hostside import units
from tandem.hostside.counters import CACHE, RUNNING, TOKENS, WAITING, ask
from tandem.hostside.paths import Paths
from tandem.hostside.probe import Target, probe_one
from tandem.hostside.sight import boot_seconds

COMPLETION_TIMEOUT_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 3.0
STALE_SECONDS: Final = 5.0
"""What systemd said longer ago is not used: then only the engine's answers count."""


@dataclass(frozen=True)
class Pace:
    """How often engines are looked at, and how often one that has to prove itself is asked for a completion."""

    look_seconds: float = 1.0
    prove_seconds: float = 2.0


def look(unit_name: str, port: int, shown: units.Unit | None) -> Look:
    """One look at the engine at this loopback port, within 3 s. ``shown``: what systemd says of it, None if nothing."""
    refused = False
    counters: dict[str, float] = {}
    try:
        counters = ask(port)
    except ConnectionRefusedError:
        refused = True
    except (OSError, http.client.HTTPException):
        pass
    tokens = [counters[name] for name in TOKENS if name in counters]
    return Look(
        boot_seconds=boot_seconds(),
        unit=shown.active if shown and shown.name == unit_name else "",
        restarts=shown.restarts if shown and shown.name == unit_name else 0,
        ordered=shown.queued if shown and shown.name == unit_name else False,
        refused=refused,
        answered=bool(counters),
        running=counters.get(RUNNING, 0.0),
        waiting=counters.get(WAITING, 0.0),
        tokens=sum(tokens) if tokens else None,
        cache=counters.get(CACHE, 0.0),
    )


@dataclass(frozen=True)
class Completion:
    """The last completion of a process, at ``boot_seconds``. ``first_completion_seconds``: from the start of the
    process to its first one, None where systemd does not say when it started.
    """

    boot_seconds: float
    first_completion_seconds: float | None
    started: float | None


class Watcher:
    """Watches engines on threads of its own until ``close``. Every method may be called from any thread."""

    def __init__(self, paths: Paths, hang_seconds: float = 120.0, pace: Pace | None = None) -> None:
        self.hang_seconds = hang_seconds
        self.pace = pace or Pace()
        self._paths = paths
        self._guarded = threading.RLock()
        self._engines: dict[str, _Engine] = {}
        self._shown: dict[str, units.Unit] = {}
        self._starts: dict[str, float] = {}
        self._models: dict[str, str] = {}
        self._shown_at = -math.inf
        self._closed = threading.Event()
        self._asks_systemd = threading.Thread(target=self._ask_systemd, name="units", daemon=True)
        self._asks_systemd.start()

    def set(self, ports: Mapping[str, int], proven: Iterable[str] = ()) -> None:
        """Watch exactly these units' ports from now on. One that was watched at this port keeps what is known of it.

        + proven: new ones of which it is known that they answered, so that a closed port is a fault at once
        """
        proven = frozenset(proven)
        with self._guarded:
            if self._closed.is_set():
                return
            for unit, engine in list(self._engines.items()):
                if ports.get(unit) != engine.port:
                    self._engines.pop(unit).stopped.set()
            for unit, port in ports.items():
                if unit not in self._engines:
                    self._engines[unit] = _Engine(self, unit, port, Vital(unit, proven=unit in proven))
                    self._engines[unit].prove(self._models.get(unit))

    def prove(self, models: Mapping[str, str]) -> None:
        """Try a completion every 2 s on exactly these units, each asked for the model that it serves."""
        with self._guarded:
            self._models = dict(models)
            for unit, engine in self._engines.items():
                engine.prove(models.get(unit))

    @property
    def proving(self) -> frozenset[str]:
        with self._guarded:
            return frozenset(unit for unit, engine in self._engines.items() if engine.model is not None)

    def seen(self) -> dict[str, tuple[Vital, Look]]:
        """Of each engine that was looked at: what is remembered, and the last look."""
        with self._guarded:
            return {unit: (one.vital, one.look) for unit, one in self._engines.items() if one.look is not None}

    def renew(self, unit: str) -> None:
        """Forget the faults of an engine, which has to answer again before a closed port is one."""
        with self._guarded:
            if engine := self._engines.get(unit):
                engine.vital, engine.look = Vital(unit), None

    def completes(self, unit: str) -> Completion | None:
        """The last completion of the process that runs now; None if it made none yet."""
        with self._guarded:
            engine = self._engines.get(unit)
            if engine is None or engine.completion is None:
                return None
            shown, started = self.shown(unit), self._starts.get(unit)
            if shown and shown.active in ("inactive", "failed", "deactivating"):
                return None
            before = started is not None and started != engine.completion.started
            return None if before else engine.completion

    def started_again(self, unit: str) -> bool:
        """Whether another process runs than the one that completed last, and systemd was told to start it."""
        with self._guarded:
            engine, shown, started = self._engines.get(unit), self.shown(unit), self._starts.get(unit)
            if engine is None or engine.completion is None or engine.completion.started is None:
                return False
            by_itself = shown is not None and shown.restarts > (engine.vital.restarts or 0)
            return started is not None and started != engine.completion.started and not by_itself

    def close(self) -> None:
        """Stop all threads. Those that wait for an answer end once it came or its time is over."""
        self._closed.set()
        with self._guarded:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.stopped.set()
        for thread in [self._asks_systemd, *(thread for engine in engines for thread in engine.threads)]:
            thread.join(CLOSE_SECONDS)

    def shown(self, unit: str) -> units.Unit | None:
        with self._guarded:
            return self._shown.get(unit) if time.monotonic() - self._shown_at < STALE_SECONDS else None

    def try_completion(self, unit: str, port: int, model: str) -> Completion | None:
        """What a real request to it says: its completion, or None."""
        started = process_starts([unit]).get(unit)
        try:
            key = self._paths.upstream_key.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        answer = probe_one(Target(unit, f"http://127.0.0.1:{port}", model), key, COMPLETION_TIMEOUT_SECONDS)
        now = time.monotonic()
        if not answer.ready or process_starts([unit]).get(unit) != started:
            return None
        return Completion(boot_seconds(), None if started is None else round(now - started, 3), started)

    def _ask_systemd(self) -> None:
        while not self._closed.is_set():
            with self._guarded:
                names = list(self._engines)
                completed = [unit for unit, engine in self._engines.items() if engine.completion]
            shown = units.show(names) if names else {}
            starts = process_starts(completed) if completed else {}
            with self._guarded:
                self._shown, self._shown_at, self._starts = shown, time.monotonic(), starts
            self._closed.wait(self.pace.look_seconds)


class _Engine:
    """One engine that is watched. All but its threads' work is guarded by the watcher's lock."""

    def __init__(self, watcher: Watcher, unit: str, port: int, vital: Vital) -> None:
        self.unit, self.port, self.vital = unit, port, vital
        self.look: Look | None = None
        self.completion: Completion | None = None
        self.model: str | None = None
        self.stopped = threading.Event()
        self._watcher = watcher
        self.threads = [threading.Thread(target=self._watch, name=f"look-{unit}", daemon=True)]
        self.threads[0].start()

    def prove(self, model: str | None) -> None:
        self.model = model
        if model is not None and len(self.threads) == 1:
            self.threads.append(threading.Thread(target=self._prove, name=f"prove-{self.unit}", daemon=True))
            self.threads[1].start()

    def _watch(self) -> None:
        due = time.monotonic()
        while not self.stopped.is_set():
            with self._watcher._guarded:
                before = self.vital
            seen = look(self.unit, self.port, self._watcher.shown(self.unit))
            with self._watcher._guarded:
                # Renewed meanwhile: this look belongs to what was forgotten.
                if self.vital is before:
                    self.vital, self.look = observe(before, seen, self._watcher.hang_seconds), seen
            due = max(due + self._watcher.pace.look_seconds, time.monotonic())
            self.stopped.wait(due - time.monotonic())

    def _prove(self) -> None:
        while not self.stopped.is_set():
            with self._watcher._guarded:
                model, before = self.model, self.completion
            if model is not None and (made := self._watcher.try_completion(self.unit, self.port, model)):
                if before and before.started == made.started:
                    first = before.first_completion_seconds
                    made = Completion(made.boot_seconds, first, made.started)
                with self._watcher._guarded:
                    self.completion = made
            self.stopped.wait(self._watcher.pace.prove_seconds)


def process_starts(names: Iterable[str]) -> dict[str, float]:
    """When the main process of each unit started, in seconds of the monotonic clock; those that run only."""
    command = ["systemctl", "show", "--property", "Id,MainPID,ExecMainStartTimestampMonotonic"]
    command += [f"{name}.service" for name in names]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    starts = {}
    for block in done.stdout.strip().split("\n\n") if done.returncode == 0 else ():
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        moment = said.get("ExecMainStartTimestampMonotonic", "0")
        if said.get("MainPID", "0") != "0" and moment.isdecimal() and int(moment):
            starts[said.get("Id", "").removesuffix(".service")] = int(moment) / 1e6
    return starts
