"""What the official OpenAI client raises when something behind the edge is away, through real Nginx processes."""

import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tandem.render.edge import EdgePlaces, edge_config
from tandem.render.nginx import config_digest, with_config_digest
from tandem.render.router import ENGINE, router_config
from tests.unit.front_door import Door, front_door
from tests.unit.nginx_process import ask, eventually, for_this_version, free_ports, nginx


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with front_door(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest.fixture(scope="module")
def client(door: Door) -> Iterator[OpenAI]:
    trust = ssl.create_default_context(cafile=str(door.ca_file))
    with openai.DefaultHttpxClient(verify=trust, timeout=10) as http:
        url = f"https://127.0.0.1:{door.config.edge.https_port}/v1"
        yield OpenAI(base_url=url, api_key=door.logins["keys"]["default"], max_retries=0, http_client=http)


@contextmanager
def engines_at(door: Door, port: int) -> Iterator[None]:
    """The edge with another place to send inference to."""
    serve(door, replace(door.places, engine_port=port))
    try:
        yield
    finally:
        serve(door, door.places)


def serve(door: Door, places: EdgePlaces) -> None:
    text = edge_config(door.config, places)
    (door.folder / "edge/nginx.conf").write_text(for_this_version(with_config_digest(text)))
    door.reload_edge()
    eventually(lambda: ask(places.status_port, "/config").text.split()[0], config_digest(text), unbroken_seconds=0.4)


def refused(client: OpenAI) -> tuple[int, str]:
    """Status and message, once it is an error as every other one: in OpenAI's form, and with when to try again."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    error = caught.value
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert (error.body["type"], error.body["code"]) == ("server_error", error.status_code)
    assert int(error.response.headers["Retry-After"]) >= 1
    assert error.request_id
    return error.status_code, error.body["message"]


def test_engines_that_are_away_are_an_internal_server_error_503(door: Door, client: OpenAI, tmp_path: Path) -> None:
    *ports, status = free_ports(len(ENGINE.ports) + 1)
    router = replace(ENGINE, ports=tuple(ports), status_port=status)
    router = replace(router, split=f"{tmp_path}/split.conf", access_log=f"{tmp_path}/access.json")
    with ExitStack() as stack:
        stack.enter_context(nginx(with_config_digest(router_config(door.config, router)), tmp_path / "prefix"))
        stack.enter_context(engines_at(door, ports[0]))
        code, message = refused(client)
    assert code == 503
    assert "engine" in message


def test_a_router_that_is_away_is_an_internal_server_error_502(door: Door, client: OpenAI) -> None:
    with engines_at(door, free_ports(1)[0]):
        code, message = refused(client)
    assert code == 502
    assert "router" in message


def test_a_gate_that_is_away_is_an_internal_server_error_503(door: Door, client: OpenAI) -> None:
    """The last test: the gate does not come back."""
    pid = int((door.folder / "gate/nginx.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: (door.folder / "gate/nginx.pid").exists(), False)
    code, message = refused(client)
    assert code == 503
    assert "keys" in message
