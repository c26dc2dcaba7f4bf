"""A STAND-IN for a container registry on loopback: the four requests that skopeo makes, over plain HTTP."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.oci.image.index.v1+json"
PARTS = {
    OCI: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    DOCKER: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """``served`` lists the blobs that were asked for; ``cut`` names blobs of which only the first half is sent."""

    port: int
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    @property
    def prefix(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, layers: list[bytes], media: str = OCI) -> str:
        """Publishes an image of one file per layer; answers ``registry.example/NAME@DIGEST``."""
        config_type, layer_type = PARTS[media]
        plain = [_tar(text) for text in layers]
        rootfs = {"type": "layers", "diff_ids": [digest_of(one) for one in plain]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": media,
            "config": self._blob(config, config_type),
            "layers": [self._blob(gzip.compress(one, mtime=0), layer_type) for one in plain],
        }
        return self.publish(name, media, manifest)

    def publish(self, name: str, media: str, manifest: dict[str, Any]) -> str:
        data = json.dumps(manifest, indent=3).encode()
        self.manifests[digest_of(data)] = (media, data)
        return f"registry.example/{name}@{digest_of(data)}"

    def _blob(self, data: bytes, media: str) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media, "digest": digest_of(data), "size": len(data)}


def _tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("says")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@contextmanager
def running() -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            what, _, digest = self.path.rpartition("/")
            if self.path == "/v2/":
                self.answer(200, "application/json", b"{}")
            elif what.endswith("/manifests") and digest in registry.manifests:
                self.answer(200, *registry.manifests[digest])
            elif what.endswith("/blobs") and digest in registry.blobs:
                registry.served.append(digest)
                data = registry.blobs[digest]
                half = len(data) // 2 if digest in registry.cut else None
                self.answer(200, "application/octet-stream", data, half)
            else:
                errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                self.answer(404, "application/json", json.dumps(errors).encode())

        do_HEAD = do_GET

        def answer(self, status: int, media: str, data: bytes, first_bytes: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:first_bytes])
            self.close_connection = first_bytes is not None

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
