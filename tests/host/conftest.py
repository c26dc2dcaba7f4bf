"""pytest tests/host --hosts=ssh://HOST: is a host what Tandem says it is? Any host that `install` has provisioned.

Nothing is read but the host itself. The programs in looks/ run there, one command each, as root: by a root login, else
by sudo. What they found is kept for all tests of the run.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from testinfra.backend.ssh import SshBackend  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

from tandem.domain import secrets
from tandem.domain.slots import UIDS
from tests.host.reading import Seen, directive, listen_ports, option, owners_of_secrets, weights_directory

LOOKS = Path(__file__).parent / "looks"
NEVER_ANSWERED = ("/metrics", "/docs", "/openapi.json", "/v1", "/v1/embeddings", "/v1/load_lora_adapter", "/tokenize")

Ask: TypeAlias = Callable[..., Seen]


@pytest.fixture(scope="session")
def remembered() -> dict[tuple[str, str], Seen]:
    return {}


@pytest.fixture(scope="session")
def control_folder() -> Iterator[Path]:
    """Where SSH keeps its shared connections; they end with the tests."""
    with tempfile.TemporaryDirectory(prefix="tandem-") as folder:
        yield Path(folder)
        for path in Path(folder).iterdir():
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "-"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def root(host: Host, control_folder: Path) -> Iterator[Host]:
    """The host as root sees it, over one SSH connection for all tests."""
    backend = host.backend
    if isinstance(backend, SshBackend) and not backend.controlpath:
        backend.controlpath = str(control_folder / f"{backend.host.name}-{backend.host.port or 22}")
    with nullcontext() if host.check_output("id -u") == "0" else host.sudo():
        yield host


@pytest.fixture(scope="module")
def ask(root: Host, remembered: dict[tuple[str, str], Seen]) -> Ask:
    """Runs a program of looks/ on the host, once in the whole run, and answers what it found."""

    def look(name: str, **question: Any) -> Seen:
        known = (root.backend.get_pytest_id(), name)
        if known not in remembered:
            source = (LOOKS / f"{name}.py").read_text()
            remembered[known] = json.loads(root.check_output("python3 -I -c %s %s", source, json.dumps(question)))
        return remembered[known]

    return look


@pytest.fixture(scope="module")
def system(ask: Ask) -> Seen:
    return ask("system", users=sorted(UIDS), units=["nginx.service", "systemd-timesyncd.service"])


@pytest.fixture(scope="module")
def containers(ask: Ask) -> Seen:
    return ask("containers")


@pytest.fixture(scope="module")
def engines(system: Seen, containers: Seen) -> dict[str, Seen]:
    """The containers of the serving release, by name."""
    ports = system["state"]["slots"][system["state"]["serving"]]["engine_ports"]
    found = {name: one for name, one in containers["containers"].items() if one["port"] in ports}
    assert len(found) == len(ports), f"the record says ports {ports}; these containers listen there: {sorted(found)}"
    return found


@pytest.fixture(scope="module")
def webui(system: Seen, containers: Seen) -> Seen:
    """The container of the WebUI that answers."""
    return containers["containers"][f"open-webui-{system['state']['webui']['slot']}"]


@pytest.fixture(scope="module")
def weights(ask: Ask, engines: dict[str, Seen]) -> Seen:
    folders = [Path(weights_directory(one["unit_file"])) for one in engines.values()]
    revisions = {Path(directive(one["unit_file"], "Volume").split(":")[0]).name for one in engines.values()}
    return ask("weights", directory=str(folders[0]), revisions=sorted(revisions))


@pytest.fixture(scope="module")
def serving(ask: Ask, system: Seen, engines: dict[str, Seen], webui: Seen) -> Seen:
    edge = system["nginx"]["/etc/tandem/edge/current/nginx.conf"]
    first = next(iter(engines.values()))["unit_file"]
    return ask(
        "serving",
        secrets=secrets.ROOT,
        engines=[one["port"] for one in engines.values()],
        webui=webui["port"],
        https=listen_ports(edge, tls=True)[0],
        http=listen_ports(edge, tls=False)[0],
        closed=NEVER_ANSWERED,
        signup={"name": "Nobody", "email": "nobody@tandem.invalid", "password": "never-made-by-this-test"},
        admin=directive(webui["unit_file"], "WEBUI_ADMIN_EMAIL"),
        model=option(first, "served-model-name"),
    )


@pytest.fixture(scope="module")
def leaks(ask: Ask, system: Seen) -> Seen:
    users, clients = (owners_of_secrets(system["tree"], kind) for kind in ("passwords", "keys"))
    return ask("leaks", root=secrets.ROOT, names=secrets.base(users, clients), units=system["owned"])
