"""An engine with knobs: speaks vLLM's API without a model, right and quick, or wrong as its KNOB_ variables say.

Started with vLLM's command line; what it does not know there is ignored. The key comes from VLLM_API_KEY, as vLLM's
does. It answers the questions of its book and of the rehearsal, and all others with numbered tokens ("0 1 2 "): exactly
``max_tokens`` of them for the question "count", and with ``ignore_eos``. Standard library only, Python 3.11.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from tandem.rehearsal.programs.knobs import requests
from tandem.rehearsal.programs.knobs.answers import Book, Said, read
from tandem.rehearsal.programs.knobs.requests import CHAT, TEXT, Refused, Wanted
from tandem.rehearsal.programs.knobs.settings import Knobs, from_environment
from tandem.rehearsal.programs.knobs.wire import Counts, Shape
from tandem.rehearsal.serving import Reply, Request, serve

HERE: Final = Path(__file__).parent
ANSWERS: Final = HERE / "answers.json"
QUESTIONS: Final = HERE.parents[1] / "questions.json"
BROKEN: Final = Refused(500, "InternalServerError", "the engine core failed")


class Engine:
    """The routes of vLLM's server. ``key``: what /v1 asks for; empty: nothing."""

    def __init__(self, knobs: Knobs, *, key: str = "", model: str = "knobs", longest_tokens: int = 131072) -> None:
        self.knobs, self.model, self.counts = knobs, model, Counts()
        self._key, self._longest_tokens = key, longest_tokens
        self._book, self._chance = Book(read(QUESTIONS, ANSWERS), knobs), random.Random(knobs.seed)  # noqa: S311
        self._completions = 0

    async def handle(self, request: Request, reply: Reply) -> None:
        route = request.path if request.path in (CHAT, TEXT, "/health", "/metrics", "/v1/models") else "none"
        try:
            await self._route(request, reply)
            self.counts.asked(route, request.method, 200)
        except Refused as refused:
            ignored = refused.status < 500 and self.knobs.bad_errors == "ignored"
            status, body = self._error(refused)
            self.counts.asked(route, request.method, 200 if ignored else status)
            if ignored:
                await self._answer_anyhow(request, reply)
            else:
                await reply.json(status, body)

    async def _answer_anyhow(self, request: Request, reply: Reply) -> None:
        shape, said = self._shape(1, "stop"), Said(("ok",))
        if b'"stream": true' in request.body:
            await self._stream(shape, said, None, 0, reply)
        else:
            await reply.json(200, shape.whole(said))

    def _error(self, refused: Refused) -> tuple[int, dict[str, Any]]:
        error = {"message": str(refused), "type": refused.kind, "param": None, "code": refused.status}
        status, client = refused.status, refused.status < 500
        if client and self.knobs.bad_errors == "format":
            return status, {"detail": str(refused)}
        if client and self.knobs.bad_errors == "status":
            return 500, {"error": error}
        if self.knobs.more_fields:
            error["of_tomorrow"] = 1
        return 422 if status == 400 and self.knobs.status_422 else status, {"error": error}

    async def _route(self, request: Request, reply: Reply) -> None:
        wrong = self._key and request.headers.get("authorization") != f"Bearer {self._key}"
        if wrong and request.path.startswith("/v1/"):
            raise Refused(401, "AuthenticationError", "Unauthorized")
        match request.method, request.path:
            case "GET", "/health":
                await asyncio.sleep(self.knobs.health_seconds)
                await reply.send(200, b"", "text/plain")
            case "GET", "/metrics":
                text = self.counts.text(self.model)
                await reply.send(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/v1/models":
                card = {"id": self.model, "object": "model", "created": int(time.time()), "owned_by": "vllm"}
                await reply.json(200, {"object": "list", "data": [{**card, "max_model_len": self._longest_tokens}]})
            case "POST", "/v1/chat/completions" | "/v1/completions":
                await self._complete(requests.read(request, self.model, self._longest_tokens), reply)
            case _:
                raise Refused(404, "NotFoundError", "Not Found")

    async def _complete(self, wanted: Wanted, reply: Reply) -> None:
        knobs, number = self.knobs, self._completions
        self._completions += 1
        if 0 <= knobs.die_after <= number:
            os._exit(1)
        said = self._book.answer(wanted.asked, self._chance)
        if self._fails(said):
            raise BROKEN
        if self._chance.random() < knobs.reset_share:
            return reply.cut()
        if self._chance.random() < knobs.error_body_share:
            return await reply.json(200, {"error": {"message": str(BROKEN), "type": BROKEN.kind, "code": 500}})
        self.counts.running += 1
        self.counts.prompt_tokens += 0 if knobs.stuck_counters else wanted.prompt_tokens
        ended = "abort"
        try:
            ended = await self._say(wanted, said, number, reply)
        finally:
            self.counts.running -= 1
            self.counts.finished[ended] += 0 if knobs.stuck_counters else 1

    def _fails(self, said: Said) -> bool:
        knobs, drawn = self.knobs, self._chance.random()
        share = max(knobs.fail_share, 0.0 if said.known else knobs.stranger_fail_share)
        return knobs.health_lies or drawn < share or (knobs.busy_failures and self.counts.running > 0)

    async def _say(self, wanted: Wanted, said: Said, number: int, reply: Reply) -> str:
        """Answers; returns why the answer ended."""
        count = len(said.tokens) if wanted.most_tokens is None else min(len(said.tokens), wanted.most_tokens)
        cut_short = count < len(said.tokens) or wanted.asked.numbered == count
        said = Said(said.tokens[:count], said.call, said.known)
        finish = "tool_calls" if said.call else "length" if cut_short else "stop"
        shape = self._shape(wanted.prompt_tokens, finish, wanted)
        half = count // 2 if self._chance.random() < self.knobs.cut_share else None
        if not wanted.stream:
            async for _ in self._paced(max(1, count), number):
                pass
            if half is not None:
                reply.cut()
                return "abort"
            await reply.json(200, shape.whole(said))
            return "length" if cut_short else "stop"
        await self._stream(shape, said, half, number, reply)
        return "abort" if half is not None else "length" if cut_short else "stop"

    async def _stream(self, shape: Shape, said: Said, half: int | None, number: int, reply: Reply) -> None:
        begun, piece = not shape.chat, ""
        async for place in self._paced(max(1, len(said.tokens)), number):
            if not begun and (place == 0 or not self.knobs.one_piece):
                begun = await self._event(shape.begin(), reply)
            if half is not None and place >= half:
                return reply.cut()
            piece += said.tokens[place] if said.tokens else ""
            due = not self.knobs.one_piece and place % max(1, self.knobs.words_per_event) == 0
            if piece and (due or place + 1 == len(said.tokens)):
                await self._event(shape.text(piece), reply)
                piece = ""
        for event in shape.call(said):
            await self._event(event, reply)
        await self._event(shape.end(), reply)
        if shape.usage_wanted:
            await self._event(shape.total(len(said.tokens)), reply)
        if not self.knobs.no_done:
            await self._event("[DONE]", reply)
        await reply.end_events()

    async def _event(self, data: str, reply: Reply) -> bool:
        """True once it is sent."""
        end = "\r\n" if self.knobs.crlf else "\n"
        if self.knobs.comments:
            await reply.piece(f": still here{end}{end}".encode())
        if self.knobs.bad_events and data != "[DONE]":
            data = data.replace('"', "'")
        await reply.piece(f"data: {data}{end}{end}".encode())
        return True

    async def _paced(self, count: int, number: int) -> AsyncIterator[int]:
        """The numbers 0 to ``count`` - 1, each at its time after the start: one late token does not delay the next."""
        knobs, start = self.knobs, time.monotonic()
        slower = (1 + knobs.load_factor * (self.counts.running - 1)) * (
            1 + self._chance.uniform(-knobs.noise, knobs.noise)
        )
        first = knobs.first_seconds * knobs.first_factor * slower + knobs.leak_seconds * number
        first += knobs.pause_seconds if self._chance.random() < knobs.pause_share else 0.0
        gap = knobs.gap_seconds * knobs.gap_factor * slower
        for place in range(count):
            await asyncio.sleep(max(0.0, start + first + place * gap - time.monotonic()))
            while 0 <= knobs.hang_after < self._completions:
                await asyncio.sleep(60)
            self.counts.generation_tokens += 0 if knobs.stuck_counters else 1
            yield place

    def _shape(self, prompt_tokens: int, finish: str, wanted: Wanted | None = None) -> Shape:
        chat, usage = (wanted.chat, wanted.usage_wanted) if wanted else (True, False)
        return Shape(chat, self.model, prompt_tokens, finish, self.knobs, usage)


async def run(knobs: Knobs, address: str, port: int, model: str, longest_tokens: int, drain_seconds: float) -> None:
    """Serves until SIGTERM, then finishes what is in progress for at most ``drain_seconds``."""
    ended = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, ended.set)
    if knobs.die_at_start:
        sys.exit("the engine core failed to start")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), None if knobs.never_ready else knobs.start_seconds)
    if ended.is_set():
        return
    engine = Engine(knobs, key=os.environ.get("VLLM_API_KEY", ""), model=model, longest_tokens=longest_tokens)
    server = await serve(engine.handle, port, address)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await ended.wait()
    server.close()
    until = time.monotonic() + drain_seconds
    while engine.counts.running and time.monotonic() < until:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)  # the last bytes of an answer are on their way


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="An engine with knobs; prints its port as JSON.", allow_abbrev=False)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", default="knobs")
    parser.add_argument("--max-model-len", type=int, default=131072)
    parser.add_argument("--shutdown-timeout", type=float, default=0.0)
    wanted, _ = parser.parse_known_args(arguments)
    try:
        knobs = from_environment(os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name, longest, drain = wanted.served_model_name, wanted.max_model_len, wanted.shutdown_timeout
    asyncio.run(run(knobs, wanted.host, wanted.port, name, longest, drain))
    return 0


if __name__ == "__main__":
    sys.exit(main())
