"""Four kinds of clients, none of which tries anything twice: what each request met is seen where it happens.

The official client of OpenAI, raw HTTP/1.1 over kept connections, HTTP/2, and websockets as a browser holds them.
"""

import asyncio
import json
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import httpx
import openai
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.crowd import Crowd, Wrong, arrived, check, trouble_of
from tests.bench.door import Door
from tests.bench.questions import Question
from tests.bench.record import DROPPED, WEBSOCKET, Asked
from tests.bench.streams import CHAT, Connection

ROUNDS: Final = 100
"""An HTTP/2 connection is given up after so many: Nginx itself ends one after a thousand requests."""
ANSWER_SECONDS: Final = 600.0
"""Longer than a crowd waits for an answer."""
PING_SECONDS: Final = 0.25
SILENT_SECONDS: Final = 10.0
"""A websocket that answers no ping for so long is dropped."""


async def official(crowd: Crowd, pause_seconds: float, *, kept: bool) -> None:
    """Streams, by the openai library: over one kept connection, or over a new one each."""
    door, kind = crowd.door, "openai, kept" if kept else "openai, new"
    headers = {} if kept else {"Connection": "close"}
    async with (
        openai.DefaultAsyncHttpxClient(verify=door.trust or False) as http,
        openai.AsyncOpenAI(
            base_url=f"{door.url}/v1", api_key=door.key, max_retries=0, http_client=http, default_headers=headers
        ) as client,
    ):
        while question := crowd.question():
            async with crowd.asking(kind) as seen:
                await _official(client, crowd.body(question, stream=True), question, seen)
            await crowd.pause(pause_seconds)


async def _official(client: openai.AsyncOpenAI, body: dict[str, Any], question: Question, seen: Asked) -> None:
    text, finish = "", None
    async with await client.chat.completions.create(**body) as stream:
        seen.trace = stream.response.headers.get("x-request-id", "")
        async for part in stream:
            for choice in part.choices:
                finish = choice.finish_reason or finish
                if choice.delta.content:
                    arrived(seen)
                    text += choice.delta.content
    check(question, text, finish)


class Kept(Connection):
    """A connection to any address; knows whether its end was announced."""

    def __init__(self, door: Door) -> None:
        super().__init__(door.target)
        self._door = door

    async def __aenter__(self) -> "Kept":
        self._reader, self._writer = await asyncio.open_connection(
            self._door.address, self._door.port, ssl=self._door.trust
        )
        self._last = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)

    @property
    def announced(self) -> bool:
        """The server said with its last answer that it closes."""
        return self._last


async def raw(crowd: Crowd, pause_seconds: float, *, kind: str) -> None:
    """Whole answers over one connection that is kept as long as the server wants."""
    connection: Kept | None = None
    try:
        while question := crowd.question():
            async with crowd.asking(kind, streamed=False) as seen:
                if connection and not connection.usable:
                    seen.reopened = not connection.announced
                    await connection.__aexit__(None, None, None)
                    connection = None
                connection = connection or await Kept(crowd.door).__aenter__()
                await _raw(connection, crowd.body(question, stream=False), question, seen)
            if seen.trouble and connection:
                await connection.__aexit__(None, None, None)
                connection = None
            await crowd.pause(pause_seconds)
    finally:
        if connection:
            await connection.__aexit__(None, None, None)


async def _raw(connection: Kept, body: dict[str, Any], question: Question, seen: Asked) -> None:
    status, headers = await connection.request("POST", CHAT, json.dumps(body).encode())
    seen.trace = headers.get("x-request-id", "")
    arrived(seen)
    content = b"".join([piece async for piece in connection.pieces(headers)])
    if status != 200:
        raise Wrong(f"status {status}")
    choice = json.loads(content)["choices"][0]
    check(question, choice["message"]["content"], choice["finish_reason"])


async def http2(crowd: Crowd, pause_seconds: float, *, streams: int) -> None:
    """So many streams at the same time over one connection."""
    door = crowd.door
    while not crowd.over.is_set():
        async with httpx.AsyncClient(
            verify=door.trust or False, http1=False, http2=True, timeout=ANSWER_SECONDS, headers=door.headers
        ) as http:
            for _ in range(ROUNDS):
                await asyncio.gather(*(_http2(crowd, http) for _ in range(streams)))
                if crowd.over.is_set():
                    return
                await crowd.pause(pause_seconds)


async def _http2(crowd: Crowd, http: httpx.AsyncClient) -> None:
    question = crowd.question()
    if question is None:
        return
    async with crowd.asking("HTTP/2") as seen:
        text, finish, done = "", None, False
        sent = json.dumps(crowd.body(question, stream=True)).encode()
        async with http.stream("POST", f"{crowd.door.url}{CHAT}", content=sent) as response:
            seen.trace = response.headers.get("x-request-id", "")
            if response.status_code != 200:
                raise Wrong(f"status {response.status_code}")
            async for line in response.aiter_lines():
                done |= line == "data: [DONE]"
                if not line.startswith("data: ") or done:
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    finish = choice["finish_reason"] or finish
                    if content := choice["delta"].get("content"):
                        arrived(seen)
                        text += content
        check(question, text, finish if done else None)


async def websocket(crowd: Crowd) -> None:
    """Held open, answered as socket.io wants it, and pinged; opened anew once it was dropped."""
    door = crowd.door
    scheme = "wss" if door.ca_file else "ws"
    uri = f"{scheme}://{door.address}:{door.port}{door.socket}"
    headers = {"Cookie": door.cookie} if door.cookie else {}
    while not crowd.over.is_set():
        seen = Asked(WEBSOCKET, time.monotonic(), streamed=False)
        try:
            async with connect(
                uri, ssl=door.trust, additional_headers=headers, ping_interval=None, compression=None, proxy=None
            ) as socket:
                await _hold(crowd, socket, seen)
        except Exception as error:
            if not (crowd.over.is_set() and seen.arrivals):
                word, name = trouble_of(error, begun=False)
                seen.trouble, seen.detail = DROPPED, name or word
        crowd.note(seen)
        if seen.trouble:
            await crowd.pause(PING_SECONDS)


async def _hold(crowd: Crowd, socket: ClientConnection, seen: Asked) -> None:
    """Until it is over. Raises what the websocket raises when it is dropped."""
    reading = asyncio.create_task(_answer(socket))
    try:
        while not crowd.over.is_set():
            pong = await socket.ping()
            await asyncio.wait_for(pong, SILENT_SECONDS)
            arrived(seen)
            with suppress(TimeoutError):
                await asyncio.wait_for(crowd.over.wait(), PING_SECONDS)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _answer(socket: ClientConnection) -> None:
    """The handshake of socket.io and its own pings; whatever else comes is read and dropped."""
    async for text in socket:
        if str(text).startswith("0{"):
            await socket.send("40")
        elif text == "2":
            await socket.send("3")
