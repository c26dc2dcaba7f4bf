"""The engines of both releases, as the prober asks them."""

import http.client
import json
from collections.abc import Callable, Iterable
from typing import Final

from tandem.domain.cases import Case
from tandem.domain.layout import Engine
from tandem.domain.paired import Sample
from tandem.hostside import counters
from tandem.hostside.ask_case import ask_case, sample
from tandem.hostside.probe import request

LOOK_TIMEOUT_SECONDS: Final = 5.0


class Engines:
    """``port``: where the engine of a slot on a card listens."""

    def __init__(self, key: str, port: Callable[[str, int], int], longest_answer_seconds: float) -> None:
        self._key, self._port, self._longest_answer_seconds = key, port, longest_answer_seconds
        self._last: dict[str, Engine] = {}
        self._ready: dict[Engine, int | None] = {}

    def choose(self, slot: str, running: Iterable[Engine]) -> Engine | None:
        """The next engine of ``slot`` that is ready; None when there is none.

        One that just ceased to be ready is chosen once more: what it answers is an error of it, while one that was not
        ready yet is only starting.
        """
        engines = sorted(one for one in running if one.slot == slot)
        last = self._last.get(slot)
        for engine in [one for one in engines if last and one > last] + engines:
            if self._look(engine):
                self._last[slot] = engine
                return engine
        return None

    def context(self, engine: Engine) -> int | None:
        """Its longest context in tokens, as far as it says."""
        return self._ready.get(engine)

    def ask(self, engine: Engine, case: Case, model: str) -> tuple[int | None, Sample]:
        """What else it had to do right before (requests; None: unknown), and how it answered."""
        port = self._port(engine.slot, engine.card)
        busy = _busy(port)
        return busy, sample(case, ask_case(case, port, model, self._key, self._longest_answer_seconds))

    def _look(self, engine: Engine) -> bool:
        """Whether it is ready, or was at the last look."""
        before = engine in self._ready
        try:
            self._ready[engine] = self._context(self._port(engine.slot, engine.card))
            return True
        except (OSError, http.client.HTTPException, ValueError):
            self._ready.pop(engine, None)
            return before

    def _context(self, port: int) -> int | None:
        """Raises OSError, HTTPException or ValueError while it is not ready."""
        headers = {"Authorization": f"Bearer {self._key}"}
        status, body = request("GET", f"http://127.0.0.1:{port}/v1/models", LOOK_TIMEOUT_SECONDS, headers)
        if status != 200:
            raise ValueError(f"/v1/models answers {status}")
        try:
            tokens = json.loads(body)["data"][0]["max_model_len"]
        except (KeyError, IndexError, TypeError):
            return None
        return tokens if type(tokens) is int else None


def _busy(port: int) -> int | None:
    try:
        found = counters.ask(port)
    except (OSError, http.client.HTTPException):
        return None
    if counters.RUNNING not in found or counters.WAITING not in found:
        return None
    return round(found[counters.RUNNING] + found[counters.WAITING])
