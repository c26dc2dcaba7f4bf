"""What all clients of one load share: questions, the end, and how a request and what went wrong with it are noted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import openai

from tests.bench.door import Door
from tests.bench.questions import Question
from tests.bench.record import CUT, Asked

WORDS: Final = {
    "ConnectError": "refused",
    "ConnectionRefusedError": "refused",
    "RemoteProtocolError": "closed",
    "LocalProtocolError": "closed",
    "IncompleteReadError": "closed",
    "ReadError": "reset",
    "WriteError": "reset",
    "ConnectionResetError": "reset",
    "BrokenPipeError": "reset",
    "TimeoutError": "timeout",
    "ReadTimeout": "timeout",
    "ConnectTimeout": "timeout",
    "APITimeoutError": "timeout",
    "JSONDecodeError": "malformed",
    "KeyError": "malformed",
    "ValueError": "malformed",
}
"""Names of exceptions, as several libraries use them, by the trouble that they mean."""


class Wrong(Exception):
    """The answer is not as it should be; the text is the trouble."""


class Crowd:
    """``write`` gets each request once it is over; ``most_requests`` all clients together, ``answer_seconds`` each."""

    def __init__(
        self,
        door: Door,
        questions: Sequence[Question],
        write: Callable[[Asked], None],
        *,
        most_requests: int,
        answer_seconds: float,
    ) -> None:
        self.door, self._questions, self._write = door, questions, write
        self._left, self._answer_seconds = most_requests, answer_seconds
        self.over = asyncio.Event()
        self._chance = random.Random(1)  # noqa: S311 - an order of questions

    @property
    def used_up(self) -> bool:
        return self._left < 0

    def question(self) -> Question | None:
        """The next one; None once no more are to be asked."""
        if self.over.is_set():
            return None
        self._left -= 1
        if self.used_up:
            self.over.set()
            return None
        return self._chance.choice(self._questions)

    async def pause(self, seconds: float) -> None:
        """More or less so long, so that clients do not march in step; no longer once it is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds * self._chance.uniform(0.5, 1.5))

    def body(self, question: Question, *, stream: bool) -> dict[str, Any]:
        return {
            "model": self.door.model,
            "messages": [{"role": "user", "content": question.prompt}],
            "temperature": 0,
            "max_tokens": question.tokens,
            "stream": stream,
        }

    @asynccontextmanager
    async def asking(self, kind: str, *, streamed: bool = True) -> AsyncIterator[Asked]:
        """One request. What went wrong in the block is noted; it raises no Exception."""
        seen = Asked(kind, time.monotonic(), streamed=streamed)
        try:
            async with asyncio.timeout(self._answer_seconds):
                yield seen
        except Exception as error:
            seen.trouble, seen.detail = trouble_of(error, bool(seen.arrivals))
        self.note(seen)

    def note(self, seen: Asked) -> None:
        seen.ended = time.monotonic()
        self._write(seen)


def arrived(seen: Asked) -> None:
    """A token came just now."""
    seen.arrivals.append(time.monotonic() - seen.began)


def check(question: Question, text: str, finish: str | None) -> None:
    """Raises Wrong unless this is the whole answer."""
    wrong = question.wrong(text)
    if finish is None:
        raise Wrong(CUT)
    if wrong:
        raise Wrong(wrong)


def trouble_of(error: BaseException, begun: bool) -> tuple[str, str]:
    """A word, and the name of what was raised. ``begun``: a part of the answer had come, so that an end is a cut."""
    if isinstance(error, Wrong):
        return str(error), ""
    if isinstance(error, openai.APIStatusError):
        return f"status {error.status_code}", ""
    found: BaseException | None = error
    while found is not None:
        name = type(found).__name__
        if word := WORDS.get(name):
            # Over HTTP/2 a server may announce its end and still finish; the client's library gives up at once.
            name += " after GOAWAY" if "ConnectionTerminated" in str(found) else ""
            return (CUT if begun and word in ("closed", "reset") else word), name
        found = found.__cause__ or found.__context__
    return "failed", f"{type(error).__name__}: {error}"[:200]
