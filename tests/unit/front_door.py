"""Edge and gate as real Nginx processes over TLS, with real secrets, before upstreams that note what reaches them."""

import base64
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tandem.config.root import Config
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import credentials, ensure
from tandem.render.edge import EdgePlaces, edge_config
from tandem.render.gate import GatePlaces, gate_config
from tandem.render.nginx import with_config_digest
from tests.unit.nginx_process import Answer, Upstream, ask, eventually, example_config, free_ports, nginx, upstream

OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
ORDER: dict[str, Any] = {
    "users": ["alice", "bob"],
    "clients": ["ci", "default"],
    "names": ["127.0.0.1"],
    "certificate": {"kind": "generated"},
    # A given key with capitals: matching it by map alone would ignore case.
    "given": {"keys/default": "sk-Given-By-The-Operator-1"},
}
EDGE = {"users": ["alice", "bob"], "clients": {"ci": {"requests_per_second": 2, "burst": 2}, "default": {}}}


@dataclass
class Door:
    """A running front door and what stands behind it."""

    config: Config
    places: EdgePlaces
    gate_places: GatePlaces
    folder: Path
    secrets: Path
    logins: dict[str, Any]
    engine: Upstream
    webui: Upstream
    reload_gate: Callable[[], None]
    reload_edge: Callable[[], None]

    def ask(self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **more: Any) -> Answer:
        return ask(self.config.edge.https_port, path, headers, method, ca_file=self.ca_file, **more)

    def ensure(self, **change: Any) -> list[str]:
        """Other secrets, as tandemctl makes them; the gate is not told."""
        return ensure(self.secrets, **{**ORDER, **change}, owners=OWNERS)

    def tell_gate(self) -> None:
        """Reload the gate and wait until only the new one answers."""
        said = (self.secrets / "gate/revision.conf").read_text()
        self.reload_gate()
        port = self.gate_places.status_port
        eventually(lambda: ask(port, "/config").text.split()[1] in said, True, unbroken_seconds=0.4)

    @property
    def ca_file(self) -> Path:
        return self.secrets / "edge/ca.crt"

    def basic(self, user: str = "alice") -> dict[str, str]:
        return basic(user, self.logins["passwords"][user])

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.logins['keys']['default']}"}

    def cookie(self, user: str = "alice") -> str:
        """The gate cookie that this user's password earns now."""
        for _ in range(3):
            answer = self.ask("/", self.basic(user))
            if answer.status == 200:
                return str(answer.headers["Set-Cookie"]).partition(";")[0]
            time.sleep(1)
        raise AssertionError(f"{answer.status}: {answer.text}")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@contextmanager
def front_door(folder: Path, **edge: Any) -> Iterator[Door]:
    """``edge``: options of the edge that differ from the tests' own."""
    secrets = Paths(folder).secrets
    ensure(secrets, **ORDER, owners=OWNERS)
    https, http, status, gate_port, gate_status = free_ports(5)
    # Every test knocks from the same address.
    patient = {"password_limit": {"requests_per_second": 1000, "burst": 1000}}
    config = example_config(https_port=https, http_port=http, maximum_body_mib=1, **{**patient, **EDGE, **edge})
    (folder / "challenges").mkdir()
    with ExitStack() as stack:
        engine, webui = stack.enter_context(upstream("engine")), stack.enter_context(upstream("webui"))
        gate_places = GatePlaces(f"{secrets}/gate", gate_port, gate_status)
        places = replace(
            EdgePlaces(),
            secrets=f"{secrets}/edge",
            access_log=f"{folder}/access.json",
            challenges=f"{folder}/challenges",
            gate_port=gate_port,
            engine_port=engine.port,
            webui_port=webui.port,
            status_port=status,
        )
        reload_gate = stack.enter_context(nginx(with_config_digest(gate_config(config, gate_places)), folder / "gate"))
        reload_edge = stack.enter_context(nginx(with_config_digest(edge_config(config, places)), folder / "edge"))
        logins = credentials(secrets)
        yield Door(config, places, gate_places, folder, secrets, logins, engine, webui, reload_gate, reload_edge)
