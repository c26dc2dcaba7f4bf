"""The edge as a real Nginx over TLS, with real secrets and the real gate beside it."""

import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem.hostside.secrets import revision
from tandem.render.edge import INFERENCE, NEVER_PUBLIC, edge_config, render_edge, served_edge
from tandem.render.nginx import config_digest
from tandem.render.tree import File
from tests.unit.front_door import Door, basic, front_door
from tests.unit.nginx_process import ask, connect, eventually, example_config

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with front_door(tmp_path_factory.mktemp("edge"), clients={"ci": {}, "default": {"burst": 1000}}) as door:
        yield door


@pytest.fixture
def edge(running: Door) -> Door:
    running.engine.seen.clear()
    running.webui.seen.clear()
    return running


@pytest.fixture(scope="module")
def cookie(running: Door) -> str:
    return running.cookie()


def test_a_browser_gets_in_with_the_password_and_goes_on_with_the_cookie(edge: Door, cookie: str) -> None:
    refused = edge.ask("/")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="Tandem"')
    assert refused.headers["Set-Cookie"] is None
    admitted = edge.ask("/", edge.basic())
    assert admitted.status == 200
    assert admitted.headers["Set-Cookie"] == f"{cookie}; Path=/; Secure; HttpOnly; SameSite=Lax"
    session = {"Authorization": "Bearer session-token", "Cookie": f"a=b; {cookie}"}
    later = edge.ask("/api/config", session)
    assert (later.status, later.headers["Set-Cookie"]) == (200, None)
    assert edge.webui.seen[-1][2]["authorization"] == "Bearer session-token"


@pytest.mark.parametrize("held", ["", "tandem_gate=", "tandem_gate=" + "0" * 64, "tandem_gate=off", "other=1"])
@pytest.mark.parametrize("credentials", ["Bearer x", "Basic !", "Basic dGVhbTp3cm9uZw==", "off", ""])
def test_without_password_or_cookie_nothing_passes_and_no_cookie_is_issued(
    edge: Door, held: str, credentials: str
) -> None:
    answer = edge.ask("/api/config", {"Cookie": held, "Authorization": credentials})
    assert (answer.status, answer.headers["Set-Cookie"]) == (401, None)
    assert edge.webui.seen == []


def test_basic_credentials_never_reach_the_webui_whether_true_or_made_up(edge: Door, cookie: str) -> None:
    edge.ask("/", edge.basic())
    edge.ask("/", {**basic("admin", "bogus"), "Cookie": cookie})
    assert len(edge.webui.seen) == 2
    for _, _, headers in edge.webui.seen:
        assert "authorization" not in headers
        assert "admin" not in json.dumps(headers)


def test_made_up_basic_credentials_beside_the_cookie_earn_no_cookie(edge: Door, cookie: str) -> None:
    assert edge.ask("/", {**basic("admin", "bogus"), "Cookie": cookie}).headers["Set-Cookie"] is None


def test_an_api_key_is_exchanged_for_the_upstream_key(edge: Door) -> None:
    answer = edge.ask(CHAT + "?x=secret-query", edge.key, "POST", body=b"{}")
    assert (answer.status, json.loads(answer.text)) == (200, {"from": "engine"})
    method, path, headers = edge.engine.seen[-1]
    assert (method, path) == ("POST", CHAT)
    assert headers["authorization"] == f"Bearer {(edge.secrets / 'upstream_key').read_text().strip()}"
    assert headers["x-request-id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Set-Cookie"] is None


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, lambda key: key + "x", lambda key: key[:-1]])
def test_an_api_key_matches_exactly(edge: Door, change: Any) -> None:
    answer = edge.ask(CHAT, {"Authorization": f"Bearer {change(edge.logins['keys']['default'])}"}, "POST", body=b"{}")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="Tandem"')
    assert json.loads(answer.text)["error"]["type"] == "authentication_error"
    assert edge.engine.seen == []


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "none", "Basic dGVhbTp4"])
@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_no_inference_route_answers_without_a_key(edge: Door, cookie: str, path: str, header: str | None) -> None:
    headers = {"Cookie": cookie} if header is None else {"Authorization": header}
    assert edge.ask(path, headers, INFERENCE[path]).status == 401
    assert edge.engine.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/embeddings",
        "/v1/chat/completions/",
        "/v1/chat/completions/render",
        "/v1/load_lora_adapter",
        "//v1/audio/transcriptions",
        "/x/../v1/embeddings",
        "/%76%31/embeddings",
    ],
)
def test_an_unlisted_api_route_is_404_and_reaches_nothing(edge: Door, cookie: str, path: str) -> None:
    answer = edge.ask(path, {**edge.key, "Cookie": cookie}, "POST", body=b"{}")
    assert (answer.status, json.loads(answer.text)["error"]["type"]) == (404, "not_found_error")
    assert edge.engine.seen == edge.webui.seen == []


def test_an_odd_spelling_of_a_listed_route_arrives_as_the_listed_route(edge: Door) -> None:
    assert edge.ask("/invocations/..//v1/%6dodels", edge.key).status == 200
    assert edge.engine.seen[-1][1] == "/v1/models"


def test_routes_that_must_not_be_public_are_404_even_with_the_cookie(edge: Door, cookie: str) -> None:
    for path in NEVER_PUBLIC:
        assert edge.ask(path, {"Cookie": cookie}).status == 404
        assert edge.ask(f"{path}/x", {"Cookie": cookie}).status == 404
    assert edge.webui.seen == []


@pytest.mark.parametrize(("path", "method"), [(CHAT, "GET"), (CHAT, "DELETE"), ("/v1/models", "POST")])
def test_another_method_is_405(edge: Door, path: str, method: str) -> None:
    assert edge.ask(path, edge.key, method).status == 405
    assert edge.engine.seen == []


def test_forwarded_identities_from_outside_do_not_get_in(edge: Door, cookie: str) -> None:
    claims = {"X-OpenWebUI-Chat-Id": "c", "X-OpenWebUI-User-Email": "boss@ai.example", "X-Forwarded-For": "10.9.9.9"}
    edge.ask("/v1/models", {**edge.key, **claims})
    edge.ask("/", {"Cookie": cookie, **claims})
    for _, _, headers in (*edge.engine.seen, *edge.webui.seen):
        assert not [name for name in headers if name.startswith("x-openwebui")]
        assert headers.get("x-forwarded-for", "127.0.0.1") == "127.0.0.1"
    assert edge.webui.seen[-1][2]["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("path", [CHAT, "/api/chat/completions"])
def test_events_pass_through_tls_as_they_are_sent(edge: Door, cookie: str, path: str) -> None:
    connection = connect(edge.config.edge.https_port, edge.ca_file)
    headers = {**edge.key, "Cookie": cookie, "Accept": "text/event-stream", "Content-Type": "application/json"}
    connection.request("POST", path, b"{}", headers)
    response = connection.getresponse()
    lags = []
    while line := response.readline():
        if line.strip():
            lags.append(time.monotonic() - float(line.split()[-1]))
    connection.close()
    assert len(lags) == 5
    # Buffered, the first of five events 0.1 s apart would be 0.4 s late.
    assert max(lags) < 0.09


def test_a_websocket_is_upgraded(edge: Door, cookie: str) -> None:
    connection = connect(edge.config.edge.https_port, edge.ca_file)
    connection.connect()
    connection.sock.sendall(
        b"GET /ws/socket.io/?transport=websocket HTTP/1.1\r\nHost: ai.example\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nCookie: " + cookie.encode() + b"\r\n\r\n"
    )
    assert connection.sock.recv(4096).startswith(b"HTTP/1.1 101 ")
    connection.sock.sendall(b"abcd")
    received = b""
    while piece := connection.sock.recv(4096):
        received += piece
    connection.close()
    assert received.endswith(b"dcba")


def test_a_body_over_the_limit_is_413_as_json(edge: Door) -> None:
    answer = edge.ask(CHAT, {**edge.key, "Content-Length": str(2 << 20)}, "POST")
    assert (answer.status, json.loads(answer.text)["error"]["code"]) == (413, 413)


def test_http_is_sent_to_https(edge: Door) -> None:
    answer = ask(edge.config.edge.http_port, "/c/1?q=x", {"Host": "ai.example"})
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://ai.example:{edge.config.edge.https_port}/c/1?q=x"


def test_security_headers_are_on_every_kind_of_answer_and_no_version_is_told(edge: Door) -> None:
    for answer in (edge.ask("/"), edge.ask("/", edge.basic()), edge.ask("/v1/x"), edge.ask(CHAT, {}, "POST")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'; base-uri 'self'"
        assert answer.headers["Server"] == "nginx"


def test_old_protocols_are_refused_and_http2_is_offered(edge: Door) -> None:
    where = f"127.0.0.1:{edge.config.edge.https_port}"
    # Level 0, so that it is the server that refuses.
    old = ["openssl", "s_client", "-connect", where, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    assert b"alert protocol version" in subprocess.run(old, input=b"", capture_output=True, check=False).stderr
    new = ["openssl", "s_client", "-connect", where, "-alpn", "h2,http/1.1"]
    assert b"ALPN protocol: h2" in subprocess.run(new, input=b"", capture_output=True, check=False).stdout


def test_the_active_configuration_says_its_digest_and_the_revision_of_its_secrets(edge: Door) -> None:
    answer = ask(edge.places.status_port, "/config")
    assert answer.text == f"{config_digest(edge_config(edge.config, edge.places))} {revision(edge.secrets)}\n"
    assert ask(edge.places.status_port, "/").status == 404


def test_the_log_is_json_without_queries_credentials_or_addresses(edge: Door, cookie: str) -> None:
    edge.ask("/?q=a-prompt-in-a-link", edge.basic())
    edge.ask(CHAT + "?q=a-prompt-in-a-link", edge.key, "POST", body=b'{"prompt": "a-prompt-in-a-body"}')
    log = edge.folder / "access.json"
    eventually(lambda: '"route":"webui"' in log.read_text() and f'"route":"{CHAT}"' in log.read_text(), True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"request_id", "route", "status", "upstream", "upstream_status", "seconds"} <= lines[0].keys()
    assert {line["client"] for line in lines if line["route"] == CHAT and line["status"] == 200} == {"default"}
    assert {line["address"] for line in lines} == {"127.0.0.0"}
    everything = log.read_text() + (edge.folder / "edge/errors").read_text() + (edge.folder / "gate/errors").read_text()
    secret = [*edge.logins["keys"].values(), *edge.logins["passwords"].values(), cookie.split("=")[1], "a-prompt"]
    assert not [value for value in secret if value in everything]


def test_another_certificate_is_served_without_a_reload_and_cuts_no_stream(edge: Door, cookie: str) -> None:
    where = ("127.0.0.1", edge.config.edge.https_port)
    before = ssl.get_server_certificate(where)
    connection = connect(where[1], edge.ca_file)
    connection.request("GET", "/", headers={"Cookie": cookie, "Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.readline().startswith(b"data: 0")
    edge.ensure(names=["127.0.0.1", "another.example"])
    assert ssl.get_server_certificate(where) != before
    assert len(re.findall(rb"^data: ", response.read(), re.MULTILINE)) == 4
    connection.close()
    edge.ensure()


def test_while_the_gate_is_away_nobody_passes_and_the_answer_says_when_to_try_again(tmp_path: Path) -> None:
    with front_door(tmp_path) as door:
        (tmp_path / "none").mkdir()
        os.kill(int((tmp_path / "gate/nginx.pid").read_text()), signal.SIGTERM)
        eventually(lambda: door.ask("/v1/models", door.key).status, 503)
        answer = door.ask("/v1/models", door.key)
        assert (json.loads(answer.text)["error"]["type"], answer.headers["Retry-After"]) == ("server_error", "5")
        page = door.ask("/", door.basic())
        assert (page.status, page.headers["Retry-After"]) == (503, "5")
        assert door.engine.seen == door.webui.seen == []


def test_more_requests_for_the_page_than_allowed_are_429_and_inference_goes_on(tmp_path: Path) -> None:
    with front_door(tmp_path, page_limit={"requests_per_second": 1, "burst": 3}) as door:
        answers = [door.ask("/", {}) for _ in range(6)]
        assert [answer.status for answer in answers] == [401] * 4 + [429] * 2
        assert answers[-1].headers["Retry-After"] == "10"
        assert door.ask("/v1/models", door.key).status == 200


def test_an_authority_finds_its_challenge_on_port_80_and_nothing_else_is_served_there(edge: Door) -> None:
    (edge.folder / "challenges/token").write_text("token.thumbprint")
    assert ask(edge.config.edge.http_port, "/.well-known/acme-challenge/token").text == "token.thumbprint"
    for path in ("/.well-known/acme-challenge/", "/.well-known/acme-challenge/other"):
        assert ask(edge.config.edge.http_port, path).status in (403, 404)
    assert ask(edge.config.edge.http_port, "/.well-known/acme-challenge/../../secrets/gate").status == 308


def test_the_tree_holds_no_secret_and_only_paths_of_its_own() -> None:
    tree = render_edge(example_config())
    (group,) = tree.groups
    assert group.base == "/etc/tandem/edge"
    assert sorted(tree.entries) == [
        "/etc/systemd/system/multi-user.target.wants/tandem-edge.service",
        "/etc/systemd/system/tandem-edge.service",
    ]
    text = group.files["nginx.conf"].content
    included = {f"/run/tandem-edge-secrets/{name}.conf" for name in ("groups", "revision", "upstream")}
    assert set(re.findall(r"include (\S+);", text)) == included
    assert served_edge(example_config())["tandem-edge"] in text
    assert "@" + "CONFIG_DIGEST@" not in text
    assert "listen 443 ssl" in text
    assert "https://$host$request_uri" in text


def test_another_configuration_has_another_digest() -> None:
    assert served_edge(example_config()) == served_edge(example_config())
    assert served_edge(example_config()) != served_edge(example_config(maximum_body_mib=7))


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    entry = render_edge(example_config()).entries["/etc/systemd/system/tandem-edge.service"]
    assert isinstance(entry, File)
    path = tmp_path / "tandem-edge.service"
    path.write_text(entry.content)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
