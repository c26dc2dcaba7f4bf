"""The edge as a real Nginx over TLS, with real secrets, before upstreams that write down what reaches them."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tandem.config.root import Config
from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import credentials, ensure, revision
from tandem.render.edge import INFERENCE, NEVER_PUBLIC, EdgePlaces, edge_config, render_edge, served_edge
from tandem.render.nginx import config_digest, with_config_digest
from tandem.render.tree import File
from tests.unit.nginx_process import (
    Answer,
    Upstream,
    ask,
    connect,
    eventually,
    example_config,
    free_ports,
    nginx,
    upstream,
)

CHAT = "/v1/chat/completions"


@dataclass
class Edge:
    """A running edge and what stands behind it."""

    config: Config
    text: str
    status_port: int
    folder: Path
    secrets: Path
    logins: dict[str, str]
    engine: Upstream
    webui: Upstream

    def ask(self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **more: Any) -> Answer:
        ca_file = self.secrets / "edge/ca.crt"
        return ask(self.config.edge.https_port, path, headers, method, ca_file=ca_file, **more)

    @property
    def basic(self) -> dict[str, str]:
        return basic(self.logins["basic_user"], self.logins["basic_password"])

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.logins['api_key']}"}

    @property
    def cookie(self) -> str:
        return f"tandem_gate={(self.secrets / 'gate').read_text().strip()}"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    secrets = folder / "secrets"
    owners = Owners(os.getuid(), os.getgid(), os.getgid())
    # A given key with capitals: matching it by map alone would ignore case.
    given = {"api_key": "sk-Given-By-The-Operator-1"}
    ensure(secrets, basic_user="team", api_client="default", names=["127.0.0.1"], given=given, owners=owners)
    https, http, status = free_ports(3)
    config = example_config(https_port=https, http_port=http, maximum_body_mib=1)
    with upstream("engine") as engine, upstream("webui") as webui:
        places = EdgePlaces(f"{secrets}/edge", f"{folder}/access.json", engine.port, webui.port, status)
        text = edge_config(config, places)
        with nginx(with_config_digest(text), folder / "prefix"):
            yield Edge(config, text, status, folder, secrets, credentials(secrets), engine, webui)


@pytest.fixture
def edge(running: Edge) -> Edge:
    running.engine.seen.clear()
    running.webui.seen.clear()
    return running


@pytest.fixture
def unhurried() -> None:
    """Let the limit (5 a second, 10 at once) forget the tests before."""
    time.sleep(0.4)


def test_a_browser_gets_in_with_the_password_and_goes_on_with_the_cookie(edge: Edge) -> None:
    refused = edge.ask("/")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="Tandem"')
    assert refused.headers["Set-Cookie"] is None
    admitted = edge.ask("/", edge.basic)
    assert admitted.status == 200
    assert admitted.headers["Set-Cookie"] == f"{edge.cookie}; Path=/; Secure; HttpOnly; SameSite=Lax"
    session = {"Authorization": "Bearer session-token", "Cookie": f"a=b; {edge.cookie}"}
    later = edge.ask("/api/config", session)
    assert (later.status, later.headers["Set-Cookie"]) == (200, None)
    assert edge.webui.seen[-1][2]["authorization"] == "Bearer session-token"


@pytest.mark.parametrize("cookie", ["", "tandem_gate=", "tandem_gate=" + "0" * 64, "tandem_gate=off", "other=1"])
@pytest.mark.parametrize("credentials", ["Bearer x", "Basic !", "Basic dGVhbTp3cm9uZw==", "off", ""])
def test_without_password_or_cookie_nothing_passes_and_no_cookie_is_issued(
    edge: Edge, cookie: str, credentials: str
) -> None:
    answer = edge.ask("/api/config", {"Cookie": cookie, "Authorization": credentials})
    assert (answer.status, answer.headers["Set-Cookie"]) == (401, None)
    assert edge.webui.seen == []


def test_basic_credentials_never_reach_the_webui_whether_true_or_made_up(edge: Edge) -> None:
    edge.ask("/", edge.basic)
    edge.ask("/", {**basic("admin", "bogus"), "Cookie": edge.cookie})
    assert len(edge.webui.seen) == 2
    for _, _, headers in edge.webui.seen:
        assert "authorization" not in headers
        assert "admin" not in json.dumps(headers)


def test_made_up_basic_credentials_beside_the_cookie_earn_no_cookie(edge: Edge) -> None:
    assert edge.ask("/", {**basic("admin", "bogus"), "Cookie": edge.cookie}).headers["Set-Cookie"] is None


@pytest.mark.usefixtures("unhurried")
def test_an_api_key_is_exchanged_for_the_upstream_key(edge: Edge) -> None:
    answer = edge.ask(CHAT + "?x=secret-query", edge.key, "POST", body=b"{}")
    assert (answer.status, json.loads(answer.text)) == (200, {"from": "engine"})
    method, path, headers = edge.engine.seen[-1]
    assert (method, path) == ("POST", CHAT)
    assert headers["authorization"] == f"Bearer {(edge.secrets / 'upstream_key').read_text().strip()}"
    assert headers["x-request-id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Set-Cookie"] is None


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, lambda key: key + "x", lambda key: key[:-1]])
def test_an_api_key_matches_exactly(edge: Edge, change: Any) -> None:
    answer = edge.ask(CHAT, {"Authorization": f"Bearer {change(edge.logins['api_key'])}"}, "POST", body=b"{}")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="Tandem"')
    assert json.loads(answer.text)["error"]["type"] == "authentication_error"
    assert edge.engine.seen == []


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "none", "Basic dGVhbTp4"])
@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_no_inference_route_answers_without_a_key(edge: Edge, path: str, header: str | None) -> None:
    headers = {"Cookie": edge.cookie} if header is None else {"Authorization": header}
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
def test_an_unlisted_api_route_is_404_and_reaches_nothing(edge: Edge, path: str) -> None:
    answer = edge.ask(path, {**edge.key, "Cookie": edge.cookie}, "POST", body=b"{}")
    assert (answer.status, json.loads(answer.text)["error"]["type"]) == (404, "not_found_error")
    assert edge.engine.seen == edge.webui.seen == []


@pytest.mark.usefixtures("unhurried")
def test_an_odd_spelling_of_a_listed_route_arrives_as_the_listed_route(edge: Edge) -> None:
    assert edge.ask("/invocations/..//v1/%6dodels", edge.key).status == 200
    assert edge.engine.seen[-1][1] == "/v1/models"


def test_routes_that_must_not_be_public_are_404_even_with_the_cookie(edge: Edge) -> None:
    for path in NEVER_PUBLIC:
        assert edge.ask(path, {"Cookie": edge.cookie}).status == 404
        assert edge.ask(f"{path}/x", {"Cookie": edge.cookie}).status == 404
    assert edge.webui.seen == []


@pytest.mark.parametrize(("path", "method"), [(CHAT, "GET"), (CHAT, "DELETE"), ("/v1/models", "POST")])
def test_another_method_is_405(edge: Edge, path: str, method: str) -> None:
    assert edge.ask(path, edge.key, method).status == 405
    assert edge.engine.seen == []


@pytest.mark.usefixtures("unhurried")
def test_forwarded_identities_from_outside_do_not_get_in(edge: Edge) -> None:
    claims = {"X-OpenWebUI-Chat-Id": "c", "X-OpenWebUI-User-Email": "boss@ai.example", "X-Forwarded-For": "10.9.9.9"}
    edge.ask("/v1/models", {**edge.key, **claims})
    edge.ask("/", {"Cookie": edge.cookie, **claims})
    for _, _, headers in (*edge.engine.seen, *edge.webui.seen):
        assert not [name for name in headers if name.startswith("x-openwebui")]
        assert headers.get("x-forwarded-for", "127.0.0.1") == "127.0.0.1"
    assert edge.webui.seen[-1][2]["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("path", [CHAT, "/api/chat/completions"])
@pytest.mark.usefixtures("unhurried")
def test_events_pass_through_tls_as_they_are_sent(edge: Edge, path: str) -> None:
    connection = connect(edge.config.edge.https_port, edge.secrets / "edge/ca.crt")
    headers = {**edge.key, "Cookie": edge.cookie, "Accept": "text/event-stream", "Content-Type": "application/json"}
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


def test_a_websocket_is_upgraded(edge: Edge) -> None:
    connection = connect(edge.config.edge.https_port, edge.secrets / "edge/ca.crt")
    connection.connect()
    connection.sock.sendall(
        b"GET /ws/socket.io/?transport=websocket HTTP/1.1\r\nHost: ai.example\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nCookie: " + edge.cookie.encode() + b"\r\n\r\n"
    )
    assert connection.sock.recv(4096).startswith(b"HTTP/1.1 101 ")
    connection.sock.sendall(b"abcd")
    received = b""
    while piece := connection.sock.recv(4096):
        received += piece
    connection.close()
    assert received.endswith(b"dcba")


def test_a_body_over_the_limit_is_413_as_json(edge: Edge) -> None:
    answer = edge.ask(CHAT, {**edge.key, "Content-Length": str(2 << 20)}, "POST")
    assert (answer.status, json.loads(answer.text)["error"]["code"]) == (413, 413)


def test_http_is_sent_to_https(edge: Edge) -> None:
    answer = ask(edge.config.edge.http_port, "/c/1?q=x", {"Host": "ai.example"})
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://ai.example:{edge.config.edge.https_port}/c/1?q=x"


def test_security_headers_are_on_every_kind_of_answer_and_no_version_is_told(edge: Edge) -> None:
    for answer in (edge.ask("/"), edge.ask("/", edge.basic), edge.ask("/v1/x"), edge.ask(CHAT, {}, "POST")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["Server"] == "nginx"


def test_old_protocols_are_refused_and_http2_is_offered(edge: Edge) -> None:
    where = f"127.0.0.1:{edge.config.edge.https_port}"
    # Level 0, so that it is the server that refuses.
    old = ["openssl", "s_client", "-connect", where, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    assert b"alert protocol version" in subprocess.run(old, input=b"", capture_output=True, check=False).stderr
    new = ["openssl", "s_client", "-connect", where, "-alpn", "h2,http/1.1"]
    assert b"ALPN protocol: h2" in subprocess.run(new, input=b"", capture_output=True, check=False).stdout


def test_the_active_configuration_says_its_digest_and_the_revision_of_its_secrets(edge: Edge) -> None:
    answer = ask(edge.status_port, "/config")
    assert answer.text == f"{config_digest(edge.text)} {revision(edge.secrets)}\n"
    assert ask(edge.status_port, "/").status == 404


def test_new_secrets_are_served_after_a_reload_and_the_revision_proves_it(edge: Edge, tmp_path: Path) -> None:
    secrets = Path(shutil.copytree(edge.secrets, tmp_path / "secrets"))
    https, http, status = free_ports(3)
    config = example_config(https_port=https, http_port=http)
    places = EdgePlaces(f"{secrets}/edge", f"{tmp_path}/access.json", edge.engine.port, edge.webui.port, status)
    with nginx(edge_config(config, places), tmp_path / "prefix") as reload:
        owners = Owners(os.getuid(), os.getgid(), os.getgid())
        given = {"api_key": "sk-another-key-of-mine"}
        ensure(secrets, basic_user="team", api_client="default", names=["127.0.0.1"], given=given, owners=owners)
        assert ask(status, "/config").text.split()[1] == revision(edge.secrets)
        reload()
        eventually(lambda: ask(status, "/config").text.split()[1], revision(secrets))
        ca_file = secrets / "edge/ca.crt"
        assert ask(https, "/v1/models", edge.key, ca_file=ca_file).status == 401
        new = {"Authorization": "Bearer sk-another-key-of-mine"}
        assert ask(https, "/v1/models", new, ca_file=ca_file).status == 200


def test_the_log_is_json_without_queries_credentials_or_addresses(edge: Edge) -> None:
    edge.ask("/?q=a-prompt-in-a-link", edge.basic)
    edge.ask(CHAT + "?q=a-prompt-in-a-link", edge.key, "POST", body=b'{"prompt": "a-prompt-in-a-body"}')
    log = edge.folder / "access.json"
    eventually(lambda: '"route":"webui"' in log.read_text() and f'"route":"{CHAT}"' in log.read_text(), True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"request_id", "route", "status", "upstream", "upstream_status", "seconds"} <= lines[0].keys()
    everything = log.read_text() + (edge.folder / "prefix/errors").read_text()
    secret = [edge.logins["api_key"], edge.logins["basic_password"], edge.cookie.split("=")[1], "a-prompt"]
    assert not [value for value in secret if value in everything]


def test_too_many_requests_with_one_key_get_429_and_bad_keys_do_not_use_up_the_limit(edge: Edge) -> None:
    for _ in range(15):
        edge.ask("/v1/models", {"Authorization": "Bearer bad"})
    time.sleep(2.2)
    answers = [edge.ask("/v1/models", edge.key) for _ in range(15)]
    statuses = [answer.status for answer in answers]
    assert statuses[:11] == [200] * 11
    assert 429 in statuses
    limited = next(answer for answer in answers if answer.status == 429)
    assert limited.headers["Retry-After"] == "1"
    assert json.loads(limited.text)["error"]["type"] == "rate_limit_error"
    assert len(edge.engine.seen) == statuses.count(200)


def test_the_tree_holds_no_secret_and_only_paths_of_its_own() -> None:
    tree = render_edge(example_config())
    (group,) = tree.groups
    assert group.base == "/etc/tandem/edge"
    assert sorted(tree.entries) == [
        "/etc/systemd/system/multi-user.target.wants/tandem-edge.service",
        "/etc/systemd/system/tandem-edge.service",
    ]
    text = group.files["nginx.conf"].content
    assert re.findall(r"include (\S+);", text)[:3] == [
        f"/run/tandem-edge-secrets/{name}.conf" for name in ("api_keys", "gate", "revision")
    ]
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
