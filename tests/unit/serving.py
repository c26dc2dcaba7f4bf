"""Stand-ins for tests of the host side: a tiny engine and WebUI over real HTTP, and programs put first on PATH."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMPLETION = {"choices": [{"message": {"content": None}}], "usage": {"completion_tokens": 8}}


@dataclass
class Behaviour:
    """What the server answers; ``asked`` keeps what it was asked."""

    status: int = 200
    body: bytes = json.dumps(COMPLETION).encode()
    refusals: int = 0
    delay_seconds: float = 0
    key: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour, port: int = 0) -> Iterator[int]:
    """Serve on this loopback port, or on a free one; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            behaviour.asked.append({"path": self.path, "body": body, "key": self.headers.get("Authorization")})
            if stopped.wait(behaviour.delay_seconds):
                return
            status = behaviour.status
            if len(behaviour.asked) <= behaviour.refusals:
                status = 503
            if behaviour.key is not None and self.headers.get("Authorization") != f"Bearer {behaviour.key}":
                status = 401
            self.send_response(status)
            self.send_header("Content-Length", str(len(behaviour.body)))
            self.end_headers()
            self.wfile.write(behaviour.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def program(folder: Path, name: str, script: str) -> None:
    """A shell script of this name; the caller puts ``folder`` first on PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def unit_block(name: str, active: str = "active", sub: str = "running", restarts: int = 0, load: str = "loaded") -> str:
    """What ``systemctl show`` prints about a service."""
    return (
        f"Id={name}.service\nLoadState={load}\nActiveState={active}\nSubState={sub}\n"
        f"Result={'exit-code' if active == 'failed' else 'success'}\nNRestarts={restarts}\n"
    )
