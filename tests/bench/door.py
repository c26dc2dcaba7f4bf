"""Where a load knocks, and with what: the edge of a rehearsal host, or one that runs as processes on this machine."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.streams import Target, tls

SOCKET: Final = "/ws/socket.io/?EIO=4&transport=websocket"


@dataclass(frozen=True)
class Door:
    """``ca_file`` "": plain HTTP. ``cookie``: the gate's, for websockets; "" where nobody asks for one."""

    address: str
    port: int
    key: str = field(repr=False)
    model: str
    ca_file: str = ""
    cookie: str = field(default="", repr=False)
    socket: str = SOCKET

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.address}:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext | None:
        return tls(Path(self.ca_file)) if self.ca_file else None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

    @property
    def target(self) -> Target:
        return Target(self.port, {"Host": self.address, **self.headers}, Path(self.ca_file) if self.ca_file else None)


def of_access(access: Mapping[str, Any], cookie: str, client: str) -> Door:
    """A rehearsal host by its access.json, with the API key of ``client``."""
    found = urlsplit(access["url"])
    key = access["keys"][client]
    return Door(str(found.hostname), found.port or 443, key, access["model"], access["ca_file"], cookie)
