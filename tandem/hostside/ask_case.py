"""One comparison case put to one engine: what it answered, when its tokens came, or what came between."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final

from tandem.domain.case_answers import DONE, parsed
from tandem.domain.cases import Answer, Case, Transcript, body, completion, evaluate, slow
from tandem.domain.paired import Sample

LONGEST_ANSWER_SECONDS: Final = 120.0
"""How long an answer is waited for where the case has no limit of its own."""
PATIENCE: Final = 2.0
"""Times the limit of a case: an answer that comes too late is told from one that never comes."""
MOST_BYTES: Final = 16 << 20
_TOKENS: Final = ("content", "reasoning", "reasoning_content", "tool_calls")
"""What a token of a streamed answer is in; vLLM renamed ``reasoning_content`` to ``reasoning``."""


@dataclass(frozen=True)
class Told:
    """``error``: what came in place of the rest of the answers, in a word or two. ``token_gap_seconds``: the mean from
    one token to the next, however many came in one event.
    """

    transcript: Transcript
    token_gap_seconds: float | None = None
    error: str | None = None


@dataclass
class _Heard:
    """Of one stream. ``moments``: when its events with tokens came; ``tokens``: how many it had by the engine's count,
    0 if it did not say.
    """

    moments: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def span_seconds(self) -> float:
        return self.moments[-1] - self.moments[0] if self.moments else 0.0

    @property
    def gaps(self) -> int:
        """From token to token, in that time. Each event had one at least; vLLM sends the first by itself."""
        return max(self.tokens, len(self.moments)) - 1 if len(self.moments) > 1 else 0


class _Failed(Exception):
    """``str()`` is the kind of error."""


def sample(case: Case, told: Told) -> Sample:
    """What is kept of it: no text. Times are means over the answers; there are none where a request was refused."""
    if told.error is not None:
        return Sample(error=told.error)
    answers = told.transcript.answers
    failed = (*evaluate(case, told.transcript), *slow(case, told.transcript))
    if case.kind == "error" or any(answer.status != 200 for answer in answers):
        return Sample(failed=failed)
    firsts = [answer.first_token_seconds for answer in answers if answer.first_token_seconds is not None]
    return Sample(
        first_token_seconds=fmean(firsts) if len(firsts) == len(answers) else None,
        total_seconds=fmean(answer.total_seconds for answer in answers),
        token_gap_seconds=told.token_gap_seconds,
        failed=failed,
    )


def ask_case(
    case: Case, port: int, model: str, key: str, longest_answer_seconds: float = LONGEST_ANSWER_SECONDS
) -> Told:
    """Put all turns of ``case`` to the engine at this loopback port, one connection each. Raises nothing.

    Each answer has twice the case's limit, or ``longest_answer_seconds``. An answer that is not a completion ends it.
    """
    limit = PATIENCE * case.total_seconds.limit if case.total_seconds else longest_answer_seconds
    answers: list[Answer] = []
    said: list[str] = []
    spent, gaps, error = 0.0, 0, None
    for _ in case.turns:
        try:
            answer, heard = _ask(json.dumps(_counted(case, body(case, model, said))), _streams(case), port, key, limit)
        except _Failed as failed:
            error = str(failed)
            break
        answers.append(answer)
        spent, gaps = spent + heard.span_seconds, gaps + heard.gaps
        if answer.status != 200:
            break
        said.append(completion(case, answer).text)
    return Told(Transcript(model, tuple(answers)), spent / gaps if gaps else None, error)


def _streams(case: Case) -> bool:
    return bool(case.request.get("stream"))


def _counted(case: Case, body: dict[str, Any]) -> dict[str, Any]:
    """The request, which also asks how many tokens a stream had. One that is to be refused stays as it is."""
    return body if case.kind == "error" or not _streams(case) else {"stream_options": {"include_usage": True}, **body}


def _ask(text: str, streams: bool, port: int, key: str, limit_seconds: float) -> tuple[Answer, _Heard]:
    """The answer, and what was heard of its tokens. Raises _Failed, in time."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit_seconds)
    over = threading.Event()
    try:
        connection.connect()
        with _closed_after(connection.sock, limit_seconds, over):
            started = time.monotonic()
            connection.request("POST", "/v1/chat/completions", text.encode(), headers)
            response = connection.getresponse()
            if response.status >= 500:
                raise _Failed(f"status {response.status}")
            heard = _Heard()
            events = streams and response.status == 200
            pieces = _events(response, heard) if events else [_whole(response)]
            ended = time.monotonic()
            if over.is_set():
                raise _Failed("timeout")
    except (_Failed, OSError, http.client.HTTPException, ValueError) as error:
        raise _Failed("timeout" if over.is_set() else _kind(error)) from None
    finally:
        connection.close()
    first = heard.moments[0] - started if heard.moments else None
    return Answer(response.status, tuple(pieces), ended - started, first), heard


def _kind(error: Exception) -> str:
    if isinstance(error, _Failed):
        return str(error)
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    # A connection that ends before the head is a BadStatusLine and a ConnectionError as well.
    if isinstance(error, http.client.IncompleteRead | OSError):
        return "cut"
    return "malformed"


@contextmanager
def _closed_after(connection: socket.socket, seconds: float, over: threading.Event) -> Iterator[None]:
    """Ends every wait for this connection when the time is over: its own timeout would count for each piece anew."""

    def close() -> None:
        over.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _whole(response: http.client.HTTPResponse) -> str:
    due, received = response.length, bytearray()
    while piece := response.read(1 << 16):
        received += piece
        if len(received) > MOST_BYTES:
            raise _Failed("malformed")
    if due is not None and len(received) < due:
        raise _Failed("cut")
    return received.decode()


def _events(response: http.client.HTTPResponse, heard: _Heard) -> list[str]:
    """The payloads of an event stream; ``heard`` gets the moment of each that has a token."""
    pieces: list[str] = []
    received = 0
    while line := response.readline(MOST_BYTES):
        received += len(line)
        if not line.endswith(b"\n"):
            raise _Failed("malformed" if received >= MOST_BYTES else "cut")
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name == "data":
            pieces.append(value.removeprefix(" "))
            _look(pieces[-1], heard)
        elif name not in ("", "event", "id", "retry") or received > MOST_BYTES:
            raise _Failed("malformed")
    if DONE not in pieces:
        raise _Failed("cut")
    return pieces


def _look(event: str, heard: _Heard) -> None:
    if event == DONE:
        return
    chunk = parsed(event)
    if not isinstance(chunk, dict):
        raise _Failed("malformed")
    if "error" in chunk:
        raise _Failed("error in stream")
    if _has_token(chunk):
        heard.moments.append(time.monotonic())
    usage = chunk.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(tokens) is int:
        heard.tokens = tokens


def _has_token(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(delta, dict) and any(delta.get(name) for name in _TOKENS)
