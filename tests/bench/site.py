"""A whole front door as ordinary processes on loopback: edge, gate and both routers before pace engines and a page."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tandem.config.root import Config
from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import credentials, ensure
from tandem.hostside.split import engine_split, webui_split
from tandem.render.edge import EdgePlaces, edge_config
from tandem.render.gate import GatePlaces, gate_config
from tandem.render.nginx import with_config_digest
from tandem.render.router import ENGINE, WEBUI, Router, router_config
from tests.bench.streams import Target
from tests.unit.nginx_process import ask, example_config, free_ports, nginx

FIRST_TOKEN_SECONDS, TOKEN_GAP_SECONDS = 0.02, 0.05
OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
PATIENT = {"requests_per_second": 5000, "burst": 5000, "streams": 500}
EDGE: dict[str, Any] = {"users": ["alice"], "clients": {"bench": PATIENT, "changing": PATIENT}}
"""Limits of people, pages and passwords are the product's own; only the load's own key is let go."""


@dataclass
class Site:
    """What runs, and how to change it."""

    config: Config
    folder: Path
    engine_port: int
    page_port: int
    gate_status_port: int
    reload_gate: Callable[[], None]
    reload_edge: Callable[[], None]

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def ca_file(self) -> Path:
        return self.secrets / "edge/ca.crt"

    @property
    def login(self) -> dict[str, str]:
        """The header of a browser with the right password."""
        pair = f"alice:{credentials(self.secrets)['passwords']['alice']}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def through(self, headers: dict[str, str] | None = None, *, source: str = "127.0.0.1") -> Target:
        """The edge's HTTPS; with the load's API key unless other headers are given."""
        key = {"Authorization": f"Bearer {credentials(self.secrets)['keys']['bench']}"}
        return Target(self.config.edge.https_port, key if headers is None else headers, self.ca_file, source)

    def direct(self) -> Target:
        """One engine, asked as the router asks it."""
        key = (self.secrets / "upstream_key").read_text().strip()
        return Target(self.engine_port, {"Authorization": f"Bearer {key}"})

    def ensure(self, **change: Any) -> list[str]:
        return _ensure(self.secrets, **change)

    def gate_serves_its_secrets(self) -> bool:
        said = ask(self.gate_status_port, "/config").text.split()[1]
        return said in (self.secrets / "gate/revision.conf").read_text()

    def workers(self, process: str) -> set[int]:
        """Process ids of the workers of ``edge`` or ``gate``, old ones that still serve included."""
        master = (self.folder / process / "nginx.pid").read_text().strip()
        return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}


def _ensure(secrets: Path, **change: Any) -> list[str]:
    order: dict[str, Any] = {
        "users": ["alice"],
        "clients": list(EDGE["clients"]),
        "names": ["127.0.0.1"],
        "certificate": {"kind": "generated"},
        "given": {},
    }
    return ensure(secrets, **order | change, owners=OWNERS)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Everything started in ``folder``; all of it is gone afterwards."""
    secrets = folder / "secrets"
    _ensure(secrets)
    (folder / "challenges").mkdir()
    https, http, edge_status, gate, gate_status, api, webui_api, engine_status, page, page_status = free_ports(10)
    config = example_config(https_port=https, http_port=http, **EDGE)
    with ExitStack() as stack:
        environment = {**os.environ, "VLLM_API_KEY": (secrets / "upstream_key").read_text().strip()}
        pace = [f"--first-token-seconds={FIRST_TOKEN_SECONDS}", f"--token-gap-seconds={TOKEN_GAP_SECONDS}"]
        engines = [stack.enter_context(_python("tests.bench.pace", *pace, env=environment)) for _ in range(2)]
        page_server = stack.enter_context(_python("tests.bench.page"))

        def start(name: str, text: str) -> Callable[[], None]:
            return stack.enter_context(nginx(with_config_digest(text), folder / name))

        def route(router: Router, split: str, **places: Any) -> None:
            own = replace(router, split=f"{folder}/{router.kind}.conf", access_log=f"{folder}/router.json", **places)
            Path(own.split).write_text(split)
            start(f"router-{router.kind}", router_config(config, own))

        route(ENGINE, engine_split({"blue": engines}, {"blue": 100}), ports=(api, webui_api), status_port=engine_status)
        route(WEBUI, webui_split(page_server), ports=(page,), status_port=page_status)
        reload_gate = start("gate", gate_config(config, GatePlaces(f"{secrets}/gate", gate, gate_status)))
        places = replace(
            EdgePlaces(),
            secrets=f"{secrets}/edge",
            access_log=f"{folder}/access.json",
            challenges=f"{folder}/challenges",
            gate_port=gate,
            engine_port=api,
            webui_port=page,
            status_port=edge_status,
        )
        reload_edge = start("edge", edge_config(config, places))
        yield Site(config, folder, engines[0], page_server, gate_status, reload_gate, reload_edge)


@contextmanager
def _python(module: str, *options: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """A server of ours as a process of its own; yields the port that it says."""
    command = [sys.executable, "-m", module, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout
    try:
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
