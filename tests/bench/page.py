"""python -m tests.bench.page: a page with 200 files and a websocket, the size of Open WebUI's. Standard library only.

The websocket sends "tick N" at a fixed pace and sends back what it is sent.
"""

import argparse
import asyncio
import json
import time
from typing import Final

from tandem.rehearsal.serving import Reply, Request, Websocket, serve

FILES: Final = 200
SOCKET: Final = "/ws/socket.io/"


def paths() -> list[str]:
    """What a browser asks for after the page itself."""
    return [f"/_app/immutable/{number}.js" for number in range(FILES)]


def content(path: str) -> bytes | None:
    """The file's bytes (most small, every tenth 120 kB); None: there is no such file."""
    if path == "/":
        return "".join(f'<script type="module" src="{one}"></script>\n' for one in paths()).encode()
    if path not in paths():
        return None
    return b"// %b\n" % path.encode() + b"x" * (120_000 if path.endswith("0.js") else 6_000)


class Page:
    """The page, its files and its websocket."""

    def __init__(self, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        self._files = {path: content(path) or b"" for path in ("/", *paths())}

    async def handle(self, request: Request, reply: Reply) -> None:
        if request.path == SOCKET and request.headers.get("upgrade", "").lower() == "websocket":
            await self._talk(reply.websocket(request))
        elif request.path in self._files:
            kind = "text/html" if request.path == "/" else "text/javascript"
            await reply.send(200, self._files[request.path], kind)
        else:
            await reply.json(404, {"detail": "Not Found"})

    async def _talk(self, socket: Websocket) -> None:
        ticking = asyncio.create_task(self._tick(socket))
        try:
            while (text := await socket.receive()) is not None:
                await socket.send(text)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _tick(self, socket: Websocket) -> None:
        start, number = time.monotonic(), 0
        while True:
            await asyncio.sleep(max(0.0, start + number * self._tick_seconds - time.monotonic()))
            await socket.send(f"tick {number}")
            number += 1


async def run(page: Page, port: int) -> None:
    server = await serve(page.handle, port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A page with its files and a websocket; prints its port as JSON.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tick-seconds", type=float, default=0.05)
    wanted = parser.parse_args()
    asyncio.run(run(Page(wanted.tick_seconds), wanted.port))


if __name__ == "__main__":
    main()
