"""Waits until everything asked about serves, tells how it goes, and says what is wrong when it will not."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tandem.hostside.failed import Failed
from tandem.hostside.paths import Paths
from tandem.hostside.probe import Answer, Target, probe
from tandem.hostside.starts import Starts
from tandem.hostside.units import Unit, last_lines, restart, show

MOST_RESTARTS = 3
IDLE_GRACE_SECONDS = 15.0
"""A unit may stand still for this long before it counts as not started (another one may start it)."""
LOG_LINES = 25


class NotReady(Failed):
    """Something does not serve. The message says what, why, and what to do next."""


@dataclass(frozen=True)
class Pace:
    """How often to ask, how often to tell, and how long one answer may take."""

    ask_seconds: float = 1.0
    tell_seconds: float = 5.0
    answer_seconds: float = 60.0


@dataclass
class Wait:
    """One wait. ``ready_after``: the second at which a unit answered; ``answers``: the last answer of each unit;
    ``asked_at``: when they were last asked, by the monotonic clock.
    """

    targets: Sequence[Target]
    timeout_seconds: float
    started: float = field(default_factory=time.monotonic)
    asked_at: float = 0.0
    ready_after: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    restarts_before: dict[str, int] = field(default_factory=dict)
    restarted: set[str] = field(default_factory=set)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        """How it goes, e.g. ``1 of 2 ready: vllm-blue-0: loading for 34 s; vllm-blue-1: ready after 31 s``."""
        parts = [f"{target.unit}: {self._word(target.unit)}" for target in self.targets]
        return f"{len(self.ready_after)} of {len(self.targets)} ready: {'; '.join(parts)}"

    def _word(self, unit: str) -> str:
        if unit in self.ready_after:
            return f"ready after {self.ready_after[unit]:.0f} s"
        return f"loading for {self.elapsed_seconds:.0f} s"


def wait_ready(
    targets: Sequence[Target],
    key: str,
    timeout_seconds: float,
    paths: Paths,
    tell: Callable[[str], None],
    pace: Pace | None = None,
    restart_webui_after_seconds: float | None = None,
) -> str:
    """Ask until all answer at the same time; returns the last line. Raises NotReady if that will not be in time.

    How long engines took to start is written down where that could be seen. Raises OSError if it can't be.
    ``restart_webui_after_seconds``: restart a WebUI once that has not answered by then. Only for one without data: a
    restart could cut a migration of its database. None: never.
    """
    pace = pace or Pace()
    wait, starts = Wait(targets, timeout_seconds), Starts(paths)
    engines = {target.unit for target in targets if target.model is not None}
    told = wait.started
    with ThreadPoolExecutor(max_workers=1) as asker:
        asked = targets
        asking = _ask(asker, asked, key, wait, pace)
        while True:
            futures.wait([asking], timeout=pace.ask_seconds)
            if asking.done():
                _note(wait, asking.result())
                starts.note({unit: one for unit, one in asking.result().items() if unit in engines}, wait.asked_at)
                still_open = [target for target in targets if target.unit not in wait.ready_after]
                if not still_open and len(asked) == len(targets):
                    return wait.line()
                # Once the last one answers, all are asked again: an early one may have died since.
                asked = still_open or targets
                time.sleep(pace.ask_seconds if still_open else 0)
                asking = _ask(asker, asked, key, wait, pace)
            _give_up_if_hopeless(wait, paths)
            if restart_webui_after_seconds is not None and wait.elapsed_seconds >= restart_webui_after_seconds:
                _restart_hung_webui(wait, tell)
            if time.monotonic() - told >= pace.tell_seconds:
                told = time.monotonic()
                tell(wait.line())


def _ask(
    asker: ThreadPoolExecutor, targets: Sequence[Target], key: str, wait: Wait, pace: Pace
) -> Future[dict[str, Answer]]:
    wait.asked_at = time.monotonic()
    return asker.submit(probe, targets, key, _patience(wait, pace))


def _give_up_if_hopeless(wait: Wait, paths: Paths) -> None:
    units = show([target.unit for target in wait.targets])
    for name, unit in units.items():
        wait.restarts_before.setdefault(name, unit.restarts)
    lost = {name: why for name, unit in units.items() if (why := hopeless(unit, wait))}
    if lost or wait.elapsed_seconds >= wait.timeout_seconds:
        raise NotReady(report(wait, units, lost, paths))


def _restart_hung_webui(wait: Wait, tell: Callable[[str], None]) -> None:
    """Open WebUI 0.12.4 was seen to hang at a first start, without load or log, until it was restarted."""
    for target in wait.targets:
        name = target.unit
        if target.model is None and name not in wait.ready_after and name not in wait.restarted:
            wait.restarted.add(name)
            restart(name)
            tell(f"{name} did not answer for {wait.elapsed_seconds:.0f} s: restarted it, once")


def _note(wait: Wait, answers: Mapping[str, Answer]) -> None:
    for unit, answer in answers.items():
        wait.answers[unit] = answer
        if not answer.ready:
            wait.ready_after.pop(unit, None)
        else:
            wait.ready_after.setdefault(unit, wait.elapsed_seconds)


def _patience(wait: Wait, pace: Pace) -> float:
    return max(1.0, min(pace.answer_seconds, wait.timeout_seconds - wait.elapsed_seconds))


def hopeless(unit: Unit, wait: Wait) -> str | None:
    """Why waiting longer is of no use; None when it may be."""
    restarts = unit.restarts - wait.restarts_before.get(unit.name, unit.restarts)
    if unit.load == "not-found":
        return "there is no such unit"
    if unit.active == "failed":
        return "the unit has failed"
    if restarts >= MOST_RESTARTS or (unit.sub == "auto-restart" and unit.restarts >= MOST_RESTARTS):
        return f"the unit ended and was started again {unit.restarts} times"
    if unit.active == "inactive" and not unit.queued and wait.elapsed_seconds >= IDLE_GRACE_SECONDS:
        return "the unit is not started"
    return None


def report(wait: Wait, units: Mapping[str, Unit], lost: Mapping[str, str], paths: Paths) -> str:
    """What did not get ready and why, with the last log lines of each of its units."""
    seconds = wait.elapsed_seconds
    head = f"not ready after {seconds:.0f} s" + ("" if lost else f" (limit {wait.timeout_seconds:g} s)")
    lines = [f"{head}. {wait.line()}"]
    for target in wait.targets:
        name = target.unit
        if name in wait.ready_after and name not in lost:
            continue
        unit = units.get(name)
        state = f"{unit.active}/{unit.sub}, Result={unit.result}, {unit.restarts} restarts" if unit else "unknown"
        why = [reason for reason in (lost.get(name), _said(wait, name)) if reason]
        lines.append(f"{name}: {'; '.join(why)} (unit state: {state})")
        log = last_lines(name, LOG_LINES, paths)
        lines.append(f"last {len(log)} log lines of {name}:" if log else f"no log lines of {name} were found")
        lines += [f"  {line}" for line in log]
    lines.append(
        "Next: mend what the log names, then run the same command again; what is done is left alone. "
        "The whole log: journalctl -u UNIT -b. If it was still loading, allow more time (ready_timeout_seconds)."
    )
    return "\n".join(lines)


def _said(wait: Wait, unit: str) -> str | None:
    answer = wait.answers.get(unit)
    return answer.why if answer else None
