"""Runs Debian's Nginx on a rendered configuration as an ordinary process, before a tiny upstream."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tandem.config.root import Config

PROGRAM = "/usr/sbin/nginx"


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, on IPv4."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def example_config(**edge: object) -> Config:
    image = f"registry.example/image@sha256:{'0' * 64}"
    manifest = {
        "repository": "a/m",
        "revision": "0" * 40,
        "files": {"config.json": {"bytes": 1, "sha256": "0" * 64}},
        "weight_bytes": 1,
        "config": {"model_type": "gpt_oss"},
    }
    return Config.model_validate(
        {
            "gpu": {"driver_source": "none"},
            "weights": {"sources": [{"kind": "folder", "path": "/srv/source"}]},
            "webui": {"image": image, "admin_email": "admin@ai.example"},
            "edge": {"server_name": "ai.example", **edge},
            "releases": {"a": {"image": image, "model": {"name": "m", "manifest": manifest}}},
            "release": "a",
        }
    )


def for_this_version(config: str) -> str:
    """Nginx before 1.25.1 knows ``http2`` only as a word of ``listen``; the hosts have 1.26."""
    version = (
        subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stderr.split("/")[1].split()[0]
    )
    if tuple(int(part) for part in version.split(".")) >= (1, 25, 1):
        return config
    return config.replace("http2 on;", "").replace(" ssl default_server;", " ssl http2 default_server;")


@contextmanager
def nginx(config: str, folder: Path) -> Iterator[Callable[[], None]]:
    """Nginx on this configuration, with ``folder`` as its prefix; yields a function that reloads it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(for_this_version(config))
    # Only a root master may name a user, and its workers must read a folder that only we may read.
    user = "user root;" if os.getuid() == 0 else ""
    errors = folder / "errors"
    command = [PROGRAM, "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", f"daemon off; {user}"]
    with errors.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        _wait(lambda: (folder / "nginx.pid").exists() or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(errors.read_text())
        yield lambda: process.send_signal(signal.SIGHUP)
    finally:
        process.terminate()
        process.wait(timeout=10)


def eventually(answer: Callable[[], object], wanted: object, unbroken_seconds: float = 0) -> None:
    """Wait up to five seconds until ``answer()`` is ``wanted``, and nothing else for ``unbroken_seconds``.

    Once is not enough after a reload: for some time an old worker still accepts connections as well.
    """

    def unbroken() -> bool:
        end = time.monotonic() + unbroken_seconds
        while answer() == wanted:
            if time.monotonic() >= end:
                return True
        return False

    _wait(unbroken)


def _wait(true: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.02)


@dataclass
class Upstream:
    """What a tiny server saw; it answers 200 with its own name, or a stream of five events 0.1 s apart."""

    name: str
    port: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def upstream(name: str, port: int = 0) -> Iterator[Upstream]:
    state = Upstream(name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.seen.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
            if self.headers.get("Upgrade") == "websocket":
                self._switch()
            elif self.headers.get("Accept") == "text/event-stream":
                self._stream()
            else:
                body = json.dumps({"from": name}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_GET

        def _switch(self) -> None:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(self.rfile.read(4)[::-1])
            self.close_connection = True

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number in range(5):
                self.wfile.write(f"data: {number} {time.monotonic()}\n\n".encode())
                time.sleep(0.1)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


def ask(
    port: int,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    ca_file: Path | None = None,
) -> Answer:
    """One request on a connection of its own; over TLS, with the certificate checked, if ``ca_file`` is given."""
    connection = connect(port, ca_file)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def connect(port: int, ca_file: Path | None = None) -> http.client.HTTPConnection:
    if ca_file is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    context = ssl.create_default_context(cafile=str(ca_file))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
