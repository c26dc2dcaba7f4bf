"""Users of a host made of processes: streams one after the other through the engine router, each tried once."""

import http.client
import json
import threading
import time
from dataclasses import dataclass
from typing import Final

from tandem.domain.slots import ROUTER_ENGINE_API_PORT

TOKENS: Final = 30
EXPECTED: Final = "".join(f"{number} " for number in range(TOKENS))


@dataclass(frozen=True)
class Trouble:
    """A request that was not answered whole. ``began``, ``ended``: seconds of the monotonic clock."""

    began: float
    ended: float
    what: str


class Users:
    """Ask from the start of the ``with`` block to its end."""

    def __init__(self, model: str, key: str, count: int = 3, pause_seconds: float = 0.05) -> None:
        self._model, self._key, self._pause_seconds = model, key, pause_seconds
        self.answered, self.troubles, self._over = 0, list[Trouble](), threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _ask_on(self) -> None:
        while not self._over.wait(self._pause_seconds):
            began = time.monotonic()
            try:
                what = ask(self._model, self._key)
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
                what = f"{type(error).__name__}: {error}"
            if what:
                self.troubles.append(Trouble(began, time.monotonic(), what))
            else:
                self.answered += 1


def ask(model: str, key: str, timeout_seconds: float = 30.0) -> str:
    """What is wrong with one streamed answer, "" when every token came once and in order."""
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": "count"}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    connection = http.client.HTTPConnection("127.0.0.1", ROUTER_ENGINE_API_PORT, timeout=timeout_seconds)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        return f"status {answer.status}"
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        return "the stream was cut"
    said = "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1])
    return "" if said == EXPECTED else f"it said {said!r}"
