"""A STAND-IN for the Hugging Face hub, ModelScope and a plain web server: one small model, real HTTP, with faults.

The hub answers its API and redirects large files to a second server, as the real one does to its storage. What it can
do wrong is in ``Fault``; what it sent is counted.
"""

import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "maker/model"
REVISION = "c0ffee" + "0" * 34
OLDER = "0ddba11" + "0" * 33
LARGE = 100_000
PIECE = 64 * 1024


def safetensors(size: int, seed: int = 0) -> bytes:
    """A file with one tensor of ``size`` bytes, every byte of which depends on its place."""
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    block = hashlib.sha512(str(seed).encode()).digest() + bytes(range(256)) * 7
    blocks = b"".join(number.to_bytes(8, "big") + block for number in range(size // (len(block) + 8) + 1))
    return struct.pack("<Q", len(header)) + header + blocks[:size]


def model(size: int = 300_000) -> dict[str, bytes]:
    """A model in two files, as a hub has it: with copies that no engine reads."""
    shards = {f"model-0000{place}-of-00002.safetensors": safetensors(size, place) for place in (1, 2)}
    index = {"metadata": {"total_size": 2 * size}, "weight_map": dict(zip("ab", shards, strict=True))}
    return {
        **shards,
        "model.safetensors.index.json": json.dumps(index).encode(),
        "config.json": b'{"model_type": "gpt_oss", "num_hidden_layers": 2}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "original/model.safetensors": safetensors(size, 1),
        "metal/model.bin": b"metal" * 100,
        ".gitattributes": b"*.safetensors filter=lfs",
        "README.md": b"# A model",
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_files(files: Mapping[str, bytes], *names: str) -> dict[str, dict[str, Any]]:
    chosen = names or [name for name in files if not name.startswith(("original/", "metal/", "."))]
    return {name: {"bytes": len(files[name]), "sha256": sha256(files[name])} for name in chosen}


@dataclass
class Fault:
    """What goes wrong with a file, ``times`` times (-1: for ever)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stall_after: int | None = None
    cut_after: int | None = None
    data: bytes | None = None  # sent instead of the file's
    no_range: bool = False
    times: int = -1


@dataclass
class Hub:
    """``faults`` by file; ``asked`` are the paths and headers of all requests; ``sent`` counts bytes of files."""

    address: str = ""
    storage: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    most: int = 0
    modelscope_revisions: tuple[str, ...] = (OLDER, "master")
    seconds_per_piece: float = 0
    hijacked: bytes | None = None  # answered to everything
    pause_at: int | None = None
    paused: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    now: int = 0

    def ranges(self, name: str) -> list[str | None]:
        """The Range header of each request for this file's bytes."""
        return [asked for one, asked in self.requests if one == name]

    def take_fault(self, name: str) -> Fault:
        with self.lock:
            fault = self.faults.get(name, Fault())
            if fault.times == 0:
                return Fault()
            fault.times -= 1
            return fault

    def send(self, count: int) -> bool:
        """Counts; holds the line when it is time to pause. False after a pause: the other end has died meanwhile."""
        with self.lock:
            self.sent += count
            pause = self.pause_at is not None and self.sent >= self.pause_at
        if pause:
            self.paused.set()
            self.go_on.wait(60)
        return not pause

    @property
    def huggingface(self) -> dict[str, Any]:
        return {"kind": "huggingface", "endpoint": self.address}

    @property
    def modelscope(self) -> dict[str, Any]:
        return {"kind": "modelscope", "endpoint": self.address, "repository": None}

    @property
    def http(self) -> dict[str, Any]:
        return {"kind": "http", "url": f"{self.address}/plain"}

    def listed(self) -> list[dict[str, Any]]:
        """As the hub lists them: SHA-256 only of large files."""
        return [
            {"rfilename": name, "size": len(data), "blobId": sha256(data)[:40]}
            | ({"lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 134}} if len(data) > LARGE else {})
            for name, data in self.files.items()
        ]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, parts = self.hub, urlsplit(self.path)
        hub.asked.append((self.path, dict(self.headers.items())))
        path, query = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        if hub.hijacked is not None:
            self._bytes("", hub.hijacked)
        elif path.startswith("/api/models/"):
            known = path in (f"/api/models/{REPOSITORY}/revision/{one}" for one in ("main", REVISION))
            self._json({"id": REPOSITORY, "sha": REVISION, "siblings": hub.listed()} if known else None)
        elif path.startswith(f"/api/v1/models/{REPOSITORY}/repo"):
            self._modelscope(path.endswith("/files"), query)
        else:
            for prefix in (f"/{REPOSITORY}/resolve/{REVISION}/", f"/plain/{REVISION}/", f"/bytes/{REVISION}/"):
                if path.startswith(prefix):
                    self._file(path.removeprefix(prefix), to_storage="resolve" in prefix)
                    return
            self._json(None)

    def _modelscope(self, wants_list: bool, query: dict[str, str]) -> None:
        if query["Revision"] not in self.hub.modelscope_revisions:
            self._json(None)
        elif wants_list:
            blobs = [
                {"Path": name, "Type": "blob", "Size": len(data), "Sha256": sha256(data)}
                | {"Revision": OLDER, "CommittedDate": 1}
                for name, data in self.hub.files.items()
            ]
            self._json({"Code": 200, "Data": {"Files": [{"Path": "original", "Type": "tree", "Size": 0}, *blobs]}})
        else:
            self._file(query["FilePath"], to_storage=False)

    def _file(self, name: str, to_storage: bool) -> None:
        data = self.hub.files.get(name)
        if data is None:
            self._json(None, {"X-Error-Code": "EntryNotFound"})
        elif to_storage and len(data) > LARGE:
            self.send_response(302)
            self.send_header("Location", f"{self.hub.storage}/bytes/{REVISION}/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._bytes(name, data)

    def _bytes(self, name: str, data: bytes) -> None:
        self.hub.requests.append((name, self.headers.get("Range")))
        fault = self.hub.take_fault(name)
        if fault.status != 200:
            self.send_response(fault.status)
            for header, value in {**fault.headers, "Content-Length": "0"}.items():
                self.send_header(header, value)
            self.end_headers()
            return
        data = data if fault.data is None else fault.data
        asked = self.headers.get("Range")
        if asked and not fault.no_range:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or len(data)), len(data) - 1)
            if first >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            body = data[first : last + 1]
        else:
            self.send_response(200)
            body = data
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, fault)

    def _send(self, body: bytes, fault: Fault) -> None:
        hub = self.hub
        with hub.lock:
            hub.now += 1
            hub.most = max(hub.most, hub.now)
        try:
            for place in range(0, len(body), PIECE):
                piece = body[place : place + PIECE]
                if fault.cut_after is not None and place + len(piece) > fault.cut_after:
                    self.wfile.write(piece[: fault.cut_after - place])
                    self.close_connection = True
                    return
                if fault.stall_after is not None and place >= fault.stall_after:
                    self.wfile.flush()
                    self.connection.settimeout(60)
                    self.connection.recv(1)  # until the other end gives up
                    self.close_connection = True
                    return
                time.sleep(hub.seconds_per_piece)
                self.wfile.write(piece)
                if not hub.send(len(piece)):
                    self.close_connection = True
                    return
        except OSError:
            self.close_connection = True
        finally:
            with hub.lock:
                hub.now -= 1

    def _json(self, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        text = json.dumps(answer if answer is not None else {"error": "not found"}).encode()
        self.send_response(404 if answer is None else 200)
        for name, value in {**(headers or {}), "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def hub(files: dict[str, bytes] | None = None, bind: str = "127.0.0.1") -> Iterator[Hub]:
    one = Hub(files=model() if files is None else files)
    handler = type("HubHandler", (Handler,), {"hub": one})
    servers = [ThreadingHTTPServer((bind, 0), handler) for _ in range(2)]
    one.address, one.storage = (f"http://{bind}:{server.server_address[1]}" for server in servers)
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield one
    finally:
        one.go_on.set()
        for server in servers:
            server.shutdown()
            server.socket.close()
