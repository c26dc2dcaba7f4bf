"""Asks engines that nobody asks for one token now and then: a core that hangs while it is idle shows nowhere else."""

import http.client
import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tandem.domain.layout import Engine
from tandem.domain.watch import Look
from tandem.hostside.paths import Paths
from tandem.hostside.probe import judge_completion, request

TIMEOUT_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 10.0
FAILURES: Final = 3
CLOSE_SECONDS: Final = 3.0
UNTOLD: Final = (401, 403, 404)
"""It answers, and does not know this key or model: that says nothing of its core."""


@dataclass
class _Pulse:
    """What is known of an engine. ``quiet_since``: its counters stand still and it has no request; None: it has.

    ``before``: its tokens when it was asked; ``shared``: others asked it meanwhile; ``answered``: once that is over,
    None where the answer says nothing.
    """

    tokens: float | None = None
    quiet_since: float | None = None
    asked: float | None = None
    failures: int = 0
    thread: threading.Thread | None = None
    before: float | None = None
    shared: bool = False
    answered: bool | None = None


class Idle:
    """One request to an engine at a time, on a thread of its own: no look waits for it."""

    def __init__(self, paths: Paths, seconds: float) -> None:
        self._paths, self._seconds = paths, seconds
        self._pulses: dict[Engine, _Pulse] = {}

    def look(
        self, models: Mapping[Engine, str], watched: Collection[Engine], looks: Mapping[str, Look], now: float
    ) -> dict[Engine, str]:
        """The faults of those that are watched; asks those with a model that were idle for long enough.

        ``looks``: the last one at each unit, of which only those that were answered count.
        """
        for engine in self._pulses.keys() - set(watched):
            del self._pulses[engine]
        for engine in watched:
            pulse, seen = self._pulses.setdefault(engine, _Pulse()), looks.get(engine.unit)
            _see(pulse, seen, now)
            if engine in models and self._due(pulse, now):
                pulse.asked, pulse.before, pulse.shared, pulse.answered = now, pulse.tokens, False, None
                pulse.thread = threading.Thread(
                    target=self._ask, args=(pulse, engine.port, models[engine]), name=f"idle-{engine.unit}", daemon=True
                )
                pulse.thread.start()
        return {
            engine: f"{engine.unit} was idle and made no token in {pulse.failures} requests in a row"
            for engine, pulse in self._pulses.items()
            if pulse.failures >= FAILURES
        }

    def forget(self, engine: Engine) -> None:
        """It completes requests again."""
        self._pulses.pop(engine, None)

    def close(self) -> None:
        """Those that wait for an answer end once it came or its time is over."""
        for pulse in self._pulses.values():
            if pulse.thread:
                pulse.thread.join(CLOSE_SECONDS)

    def _due(self, pulse: _Pulse, now: float) -> bool:
        if pulse.thread or pulse.quiet_since is None or pulse.failures >= FAILURES:
            return False
        if pulse.failures and pulse.asked is not None:
            return now - pulse.asked >= AGAIN_SECONDS
        return now - max(pulse.quiet_since, pulse.asked or 0.0) >= self._seconds

    def _ask(self, pulse: _Pulse, port: int, model: str) -> None:
        try:
            key = self._paths.upstream_key.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return
        asked = {"model": model, "messages": [{"role": "user", "content": "Say ok."}], "max_tokens": 1}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        try:
            status, body = request("POST", url, TIMEOUT_SECONDS, headers, json.dumps(asked).encode())
        except ConnectionRefusedError:
            return  # the look finds that
        except (OSError, http.client.HTTPException):
            pulse.answered = False
            return
        if status not in UNTOLD:
            pulse.answered = judge_completion(status, body)[0]


def _see(pulse: _Pulse, seen: Look | None, now: float) -> None:
    if seen is None or not seen.answered or seen.tokens is None:
        return
    moved = pulse.tokens is not None and seen.tokens != pulse.tokens
    # One of them may be the one that is asked here.
    pulse.shared |= seen.running + seen.waiting > 1
    if seen.running or seen.waiting:
        pulse.quiet_since = None
    elif moved or pulse.quiet_since is None:
        pulse.quiet_since = now
    pulse.tokens = seen.tokens
    if moved:
        pulse.failures = 0  # whoever asked: it makes tokens
    if pulse.thread and not pulse.thread.is_alive():
        pulse.thread = None
        if pulse.answered:
            pulse.failures = 0
        elif pulse.answered is False and seen.tokens == pulse.before and not pulse.shared:
            pulse.failures += 1
