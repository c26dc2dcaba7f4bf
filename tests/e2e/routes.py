"""Every route of the running engine and of the running WebUI, tried from outside with each kind of credential."""

import asyncio
import json
import re
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tandem.rehearsal.rootfs import Host
from tandem.render.edge import INFERENCE
from tests.e2e.site import Site
from tests.e2e.units import on_host

PROGRAMS = Path(__file__).parent / "programs"
AT_ONCE = 16
CREDENTIALS = ("none", "wrong", "key", "cookie")
"""wrong: another key and another cookie together; key: of the API; cookie: of the page, without a WebUI session."""

SERVED, OTHER_METHOD, UNSERVED, WEBUI = "engine: served", "engine: other method", "engine: not served", "WebUI"
SHARED = frozenset({"/health"})
"""Paths of the engine that the WebUI has as well; from outside they are the WebUI's."""

BODILESS = ("GET", "HEAD", "OPTIONS")
WITHOUT_METHODS = {"MOUNT": ("GET", "POST"), "WEBSOCKET": ("GET",)}


@dataclass(frozen=True)
class Route:
    group: str
    method: str
    path: str


@dataclass(frozen=True)
class Outcome:
    route: Route
    credential: str
    status: int
    request_id: str


def routes(machine: Host) -> list[Route]:
    """Asked of the programs themselves, in their own containers: a new version's new routes are tried as well."""
    with ThreadPoolExecutor() as pool:
        engine = pool.submit(_ask, machine, "vllm-", "engine_routes", "VLLM_SERVER_DEV_MODE=1 python3 -")
        scratch = 'at=$(mktemp -d) && trap "rm -rf $at" EXIT && DATA_DIR=$at STATIC_DIR=$at/static FROM_INIT_PY=true'
        webui = pool.submit(_ask, machine, "open-webui-", "webui_routes", f"{scratch} python3 -")
    found = {Route(WEBUI, method, path) for method, path in webui.result()}
    for method, path in engine.result():
        if path in INFERENCE:
            found |= {Route(OTHER_METHOD, other, path) for other in ("GET", "POST", "PUT", "DELETE", "OPTIONS")}
            found.add(Route(SERVED, method, path))
        elif path not in SHARED:
            found.add(Route(UNSERVED, method, path))
    found -= {Route(OTHER_METHOD, method, path) for path, method in INFERENCE.items()}
    return sorted(found, key=lambda route: (route.group, route.path, route.method))


def _ask(machine: Host, prefix: str, program: str, command: str) -> list[tuple[str, str]]:
    """The methods and paths that a program prints in the first running container of that name."""
    names = on_host(machine, "podman ps --format '{{.Names}}'").split()
    container = next(name for name in sorted(names) if name.startswith(prefix))
    done = subprocess.run(
        [*machine.ssh("root"), f"podman exec -i {container} sh -c '{command}'"],
        input=(PROGRAMS / f"{program}.py").read_text(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    pairs = [
        (method, path) for path, methods in answer for one in methods for method in WITHOUT_METHODS.get(one, [one])
    ]
    return [(method, re.sub(r"\{[^}]*\}", "0", path) or "/") for method, path in pairs]


def walk(site: Site, asked: Iterable[Route]) -> list[Outcome]:
    """One request per route and credential, with an empty JSON object where a method takes a body."""
    wrong = {
        "Authorization": _altered(site.bearer["Authorization"]),
        "Cookie": _altered(site.cookie["Cookie"]),
    }
    headers = {"none": {}, "wrong": wrong, "key": site.bearer, "cookie": site.cookie}
    return asyncio.run(_walk(site, [(route, name, headers[name]) for route in asked for name in CREDENTIALS]))


def _altered(credential: str) -> str:
    return credential[:-1] + ("0" if credential[-1] != "0" else "1")


async def _walk(site: Site, asked: list[tuple[Route, str, Mapping[str, str]]]) -> list[Outcome]:
    trust = ssl.create_default_context(cafile=site.access["ca_file"])
    waiting = iter(asked)
    found = []

    # The transport itself: a client would follow its own mind about cookies and redirects.
    async with httpx.AsyncHTTPTransport(verify=trust, limits=httpx.Limits(max_connections=AT_ONCE)) as transport:

        async def worker() -> None:
            for route, credential, headers in waiting:
                body: dict[str, str] | None = None if route.method in BODILESS else {}
                request = httpx.Request(
                    route.method,
                    f"{site.access['url']}{route.path}",
                    headers=headers,
                    json=body,
                    extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 30)},
                )
                response = await transport.handle_async_request(request)
                await response.aread()
                await response.aclose()
                found.append(Outcome(route, credential, response.status_code, response.headers["X-Request-Id"]))

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """Rows: groups of routes; columns: credentials; cells: how many answers had which status."""
    cells: dict[tuple[str, str], Counter[int]] = {}
    for one in outcomes:
        cells.setdefault((one.route.group, one.credential), Counter())[one.status] += 1
    groups = list(dict.fromkeys(group for group, _ in cells))
    head = ["routes and methods", *CREDENTIALS]
    rows = [
        [f"{group} ({sum(cells[group, 'none'].values())})"]
        + [
            ", ".join(f"{status}: {count}" for status, count in sorted(cells[group, name].items()))
            for name in CREDENTIALS
        ]
        for group in groups
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def logged(machine: Host, since: float, wanted: set[str], seconds: float = 20) -> dict[str, dict[str, Any]]:
    """Log lines of the edge and of the engine router from ``since`` on (the host's clock), each by its request id, once
    the edge's has all that are ``wanted``. TimeoutError when it has not after so long.
    """
    end = time.monotonic() + seconds
    while True:
        found = {}
        for tag in ("tandem_edge", "tandem_router"):
            lines = on_host(machine, f"journalctl --identifier={tag} --since=@{since:.0f} --output=cat --no-pager")
            found[tag] = {row["request_id"]: row for row in map(json.loads, lines.splitlines())}
        if wanted <= found["tandem_edge"].keys():
            return found
        if time.monotonic() > end:
            missing = len(wanted - found["tandem_edge"].keys())
            raise TimeoutError(f"{missing} of {len(wanted)} requests are not in the edge's log after {seconds} s")
        time.sleep(0.5)
