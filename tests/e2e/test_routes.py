"""Promise P6: from outside no unlisted route answers, and none without a valid credential."""

import time
from collections.abc import Iterable
from typing import Any

import pytest

from tandem.rehearsal.rootfs import Host
from tests.e2e.install import ROOT
from tests.e2e.routes import OTHER_METHOD, SERVED, UNSERVED, WEBUI, Outcome, logged, routes, table, walk
from tests.e2e.site import Site
from tests.e2e.units import on_host

LEAST = {SERVED: 4, OTHER_METHOD: 12, UNSERVED: 40, WEBUI: 500}
"""How many there must be for "none answered" to mean anything."""

OPEN = {
    *("/", "/manifest.json", "/opensearch.xml", "/static", "/pyodide", "/ws", "/api/v1/audio/realtime"),
    *("/health", "/health/db", "/ready", "/ollama/", "/api/version", "/api/changelog", "/api/config"),
    "/api/v1/auths/signout",
}
"""What Open WebUI answers to who passed the gate and has not signed in: the page itself, and nothing of anybody."""


@pytest.fixture(scope="module")
def walked(machine: Host, site: Site) -> tuple[list[Outcome], dict[str, dict[str, Any]], float]:
    """What each try got, the log lines about it by request id, and how long all of it took (seconds)."""
    began, host_time = time.monotonic(), float(on_host(machine, "date +%s"))
    found = walk(site, routes(machine))
    logs = logged(machine, host_time, {one.request_id for one in found})
    return found, logs, time.monotonic() - began


@pytest.fixture(scope="module")
def outcomes(walked: tuple[list[Outcome], object, object]) -> list[Outcome]:
    return walked[0]


def shown(found: Iterable[Outcome]) -> list[str]:
    return sorted(f"{one.status} {one.route.method} {one.route.path} ({one.credential})" for one in found)


def test_the_walk_is_wide_and_quick(
    walked: tuple[list[Outcome], object, float], capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes, _, seconds = walked
    text = table(outcomes)
    (ROOT / "runs").mkdir(exist_ok=True)
    (ROOT / "runs/routes.md").write_text(text)
    with capsys.disabled():
        print(f"\n{text}{len(outcomes)} requests, {seconds:.0f} s with finding the routes")
    for group, least in LEAST.items():
        assert len({one.route for one in outcomes if one.route.group == group}) >= least, group
    assert seconds < 60


@pytest.mark.parametrize("credential", ["none", "wrong"])
def test_without_a_valid_credential_everything_is_closed(outcomes: list[Outcome], credential: str) -> None:
    closed = {group: {401, 404} for group in LEAST} | {OTHER_METHOD: {401, 404, 405}}
    found = [one for one in outcomes if one.credential == credential]
    assert shown(one for one in found if one.status not in closed[one.route.group]) == []


def test_what_is_not_served_is_not_there_whoever_asks(outcomes: list[Outcome]) -> None:
    found = [one for one in outcomes if one.route.group == UNSERVED]
    assert shown(one for one in found if one.status != 404) == []


def test_a_served_route_takes_its_own_method_only(outcomes: list[Outcome]) -> None:
    found = [one for one in outcomes if one.route.group == OTHER_METHOD]
    assert shown(one for one in found if one.status not in (401, 405)) == []


def test_the_key_opens_nothing_of_the_webui_and_the_cookie_nothing_of_the_api(outcomes: list[Outcome]) -> None:
    other = [(SERVED, "cookie"), (WEBUI, "key")]
    found = [one for one in outcomes if (one.route.group, one.credential) in other]
    assert shown(one for one in found if one.status not in (401, 404)) == []


def test_the_gate_alone_opens_nothing_of_anybody(outcomes: list[Outcome]) -> None:
    found = [one for one in outcomes if (one.route.group, one.credential) == (WEBUI, "cookie")]
    assert shown(one for one in found if one.status < 400 and one.route.path not in OPEN) == []


def test_only_served_routes_with_the_key_reach_the_engines_router(
    walked: tuple[list[Outcome], dict[str, dict[str, Any]], float],
) -> None:
    """By its own log, which holds the id of each request that came. Those that may come are in it."""
    outcomes, logs, _ = walked
    reached = [one for one in outcomes if one.request_id in logs["tandem_router"]]
    assert {(one.route.group, one.credential) for one in reached} == {(SERVED, "key")}
    assert len(reached) == len({one.route for one in outcomes if one.route.group == SERVED})


def test_what_is_refused_is_sent_to_nobody(walked: tuple[list[Outcome], dict[str, dict[str, Any]], float]) -> None:
    """By the edge's own log: neither to the engines' router nor to the WebUI."""
    outcomes, logs, _ = walked
    passed = [one for one in outcomes if logs["tandem_edge"][one.request_id]["upstream"]]
    assert {(one.route.group, one.credential) for one in passed} == {(SERVED, "key"), (WEBUI, "cookie")}
