"""Kills a deploy with kill -9 in the middle of an operation, as a crash of the operator's machine would."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.deploying import INSTALL, Ended, Running, Workplace

POLL_SECONDS = 0.005
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Killed:
    """One kill. ``inside``: the operation had not ended yet; else it had just ended and no other had begun."""

    operation: str
    delay_seconds: float
    inside: bool
    ended: Ended

    def __str__(self) -> str:
        where = "inside" if self.inside else "at the end of"
        return f"killed {where} {self.operation!r} after {self.delay_seconds:.3f} s"


def kill_at(
    workplace: Workplace, inventory: str, wanted: Callable[[str], bool], delay_seconds: float, deploy: str = INSTALL
) -> Killed | Ended:
    """Starts a deploy and kills it in the first operation that is ``wanted``; without one it ends by itself."""
    running = workplace.start(inventory, deploy)
    deadline = time.monotonic() + LIMIT_SECONDS
    while running.process.poll() is None:
        found = [name for name in _begun(running) if wanted(name)]
        if found:
            return _kill(running, found[0], delay_seconds)
        if time.monotonic() > deadline:
            raise TimeoutError(f"no such operation began in {LIMIT_SECONDS} s: {running.kill().output[-2000:]}")
        time.sleep(POLL_SECONDS)
    return running.wait()


def delay(chance: random.Random) -> float:
    """1 ms to 1 s, as often below 30 ms as above it: some operations take seconds, others hundredths."""
    return float(10 ** chance.uniform(-3, 0))


def _begun(running: Running) -> list[str]:
    return [event["operation"] for event in running.events() if event["event"] == "operation_start"]


def _kill(running: Running, operation: str, delay_seconds: float) -> Killed:
    until = time.monotonic() + delay_seconds
    # An operation that is done before is killed at its end, so that each one has its turn.
    while time.monotonic() < until and not _is_done(running, operation):
        time.sleep(0.001)
    ended = running.kill()
    return Killed(operation, delay_seconds, not _is_done(running, operation), ended)


def _is_done(running: Running, operation: str) -> bool:
    events = running.events()
    return any(event["event"] == "operation" and event["operation"] == operation for event in events) or (
        [event["operation"] for event in events if event["event"] == "operation_start"][-1:] != [operation]
    )
