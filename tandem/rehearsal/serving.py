"""A small HTTP/1.1 server for stand-ins: kept-alive connections, event streams, websockets. Standard library only."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

WEBSOCKET_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@dataclass(frozen=True)
class Request:
    """One request; header names in lower case, the path without its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply:
    """Where a handler answers one request: a body, a stream of events, or a websocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool) -> None:
        self.keep, self._events = keep, False
        self._reader, self._writer = reader, writer

    async def send(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        """A whole answer. Raises ConnectionError when the client has gone."""
        self._head(status, {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}, body)
        await self._writer.drain()

    async def json(self, status: int, value: Any) -> None:
        await self.send(status, json.dumps(value).encode(), "application/json")

    async def event(self, data: str) -> None:
        """One event in one write; the first brings the head. Raises ConnectionError when the client has gone."""
        await self.piece(f"data: {data}\n\n".encode())

    async def piece(self, piece: bytes) -> None:
        """A piece of an event stream as it is, in one write. Raises ConnectionError when the client has gone."""
        if self._reader.at_eof():
            raise ConnectionResetError("the client closed its connection")
        if not self._events:
            self._head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
            self._events = True
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def end_events(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def cut(self) -> None:
        """Reset the connection, as a process that died does."""
        self.keep = False
        self._writer.transport.abort()

    def websocket(self, request: Request) -> "Websocket":
        accept = hashlib.sha1((request.headers["sec-websocket-key"] + WEBSOCKET_GUID).encode()).digest()  # noqa: S324
        self.keep = False
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Accept": base64.b64encode(accept).decode()}
        self._head(101, headers | {"Connection": "Upgrade"})
        return Websocket(self._reader, self._writer)

    def _head(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        if status != 101 and not self.keep:
            headers = {**headers, "Connection": "close"}
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)


class Websocket:
    """The server's end of one websocket; text frames of one piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, text: str) -> None:
        await self._frame(TEXT, text.encode())

    async def receive(self) -> str | None:
        """The next text; None once the client closes."""
        while True:
            opcode, payload = await self._read()
            if opcode == TEXT:
                return payload.decode()
            if opcode == CLOSE:
                await self._frame(CLOSE, payload)
                return None
            if opcode == PING:
                await self._frame(PONG, payload)

    async def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            length = struct.pack(">B", size)
        else:
            length = struct.pack(">BH", 126, size) if size <= 0xFFFF else struct.pack(">BQ", 127, size)
        self._writer.write(bytes([0x80 | opcode]) + length + payload)
        await self._writer.drain()

    async def _read(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            (size,) = struct.unpack(
                ">H" if size == 126 else ">Q", await self._reader.readexactly(2 if size == 126 else 8)
            )
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


Handler = Callable[[Request, Reply], Awaitable[None]]


async def serve(handler: Handler, port: int, address: str = "127.0.0.1") -> asyncio.Server:
    """Answer on ``port`` (0: any free one) until closed. A client that goes ends its handler by ConnectionError."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _request(reader):
                keep = request.headers.get("connection", "").lower() != "close"
                reply = Reply(reader, writer, keep)
                await handler(request, reply)
                if not reply.keep:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connection, address, port, backlog=1024)


async def _request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ")
    pairs = (line.split(":", 1) for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target.partition("?")[0], headers, body)
