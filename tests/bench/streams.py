"""Load clients: raw HTTP/1.1 over TLS or plain, without retries, so that every loss is seen where it happens."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from websockets.asyncio.client import connect

CHAT = "/v1/chat/completions"


@cache
def tls(ca_file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file))


@dataclass(frozen=True)
class Target:
    """Where requests go and what they carry. ``ca_file`` None: plain HTTP. ``source``: the address they come from."""

    port: int
    headers: Mapping[str, str]
    ca_file: Path | None = None
    source: str = "127.0.0.1"


class Connection:
    """One connection, kept as long as both sides want."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def __aenter__(self) -> "Connection":
        context = tls(self._target.ca_file) if self._target.ca_file else None
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._target.port, ssl=context, local_addr=(self._target.source, 0)
        )
        self._last = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: the server has neither announced nor done the closing, so far."""
        return not (self._last or self._reader.at_eof())

    @property
    def certificate(self) -> bytes:
        """What the server showed at the handshake (DER)."""
        shown: bytes = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Send a request, return status and headers. Raises ConnectionError or EOFError when the server is gone."""
        sent = {"Host": "127.0.0.1", **self._target.headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        self._last = headers.get("connection") == "close"
        return int(lines[0].split()[1]), headers

    async def pieces(self, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The body as the server cut it: its HTTP chunks, or the whole."""
        if headers.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(headers.get("content-length", "0")))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)

    async def ask(self, method: str, path: str) -> int:
        """A request whose body is read and dropped; returns the status."""
        status, headers = await self.request(method, path)
        async for _ in self.pieces(headers):
            pass
        return status


@dataclass
class Stream:
    """One streamed answer as its client saw it."""

    wanted: int
    first_token_seconds: float = 0
    numbers: list[int] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    crowded: int = 0
    """HTTP chunks that brought more than one token."""
    trouble: str = ""

    @property
    def wrong(self) -> str:
        """Why this answer is not the whole answer, each token once and in order; empty when it is."""
        if self.trouble or self.numbers == list(range(self.wanted)):
            return self.trouble
        return f"tokens lost, repeated or out of order: {len(self.numbers)} of {self.wanted}"

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.arrivals)]


async def stream(target: Target, tokens: int, connection: Connection | None = None) -> Stream:
    """Ask for ``tokens`` tokens, on a connection of its own unless one is given; the clock starts before connecting."""
    seen = Stream(tokens)
    start = time.monotonic()
    try:
        if connection:
            await _follow(connection, seen)
        else:
            async with Connection(target) as own:
                await _follow(own, seen)
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        seen.trouble = f"cut after {len(seen.numbers)} of {tokens} tokens ({type(error).__name__})"
    if seen.arrivals:
        seen.first_token_seconds = seen.arrivals[0] - start
    return seen


async def _follow(connection: Connection, seen: Stream) -> None:
    asked = {
        "model": "pace",
        "messages": [{"role": "user", "content": "count"}],
        "stream": True,
        "max_tokens": seen.wanted,
    }
    status, headers = await connection.request("POST", CHAT, json.dumps(asked).encode())
    done = False
    async for piece in connection.pieces(headers):
        arrived, before = time.monotonic(), len(seen.numbers)
        for event in piece.split(b"\n\n"):
            if event == b"data: [DONE]":
                done = True
            elif event.startswith(b"data: "):
                seen.numbers.append(int(json.loads(event[6:])["choices"][0]["delta"]["content"]))
                seen.arrivals.append(arrived)
        seen.crowded += len(seen.numbers) - before > 1
    if status != 200 or not done:
        seen.trouble = f"status {status}, {len(seen.numbers)} of {seen.wanted} tokens, no end"


async def streams(target: Target, count: int, tokens: int, over_seconds: float) -> list[Stream]:
    """So many answers at once, begun evenly over ``over_seconds``, as people do not begin in the same millisecond."""

    async def one(number: int) -> Stream:
        await asyncio.sleep(over_seconds * number / count)
        return await stream(target, tokens)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def websocket(target: Target, path: str, seconds: float) -> str:
    """Hold a websocket: its ticks must count up without a gap and each word must come back. Returns what was wrong."""
    ticks, echoes, sent = 0, 0, 0
    end = time.monotonic() + seconds
    scheme, context = ("wss", tls(target.ca_file)) if target.ca_file else ("ws", None)
    uri = f"{scheme}://127.0.0.1:{target.port}{path}"
    try:
        async with connect(uri, ssl=context, additional_headers=target.headers, compression=None) as socket:
            while time.monotonic() < end or echoes < sent:
                text = str(await asyncio.wait_for(socket.recv(), 10))
                if text == f"tick {ticks}":
                    ticks += 1
                    if ticks % 10 == 0 and time.monotonic() < end:
                        await socket.send(f"word {sent}")
                        sent += 1
                elif echoes < sent and text == f"word {echoes}":
                    echoes += 1
                else:
                    return f"websocket: {text!r} came where tick {ticks} or word {echoes} was due"
    except Exception as error:
        return f"websocket cut after {ticks} ticks: {type(error).__name__}"
    return "" if ticks and echoes else "websocket: no tick or no echo"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below ``share`` of all values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
