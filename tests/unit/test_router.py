"""Both routers as real Nginx processes with the real split text, before upstreams that say who they are."""

import http.client
import json
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tandem.hostside.split import engine_split, split_revision, webui_split
from tandem.render.nginx import config_digest, with_config_digest
from tandem.render.router import ENGINE, WEBUI, Router, render_router, router_config, served_routers
from tandem.render.tree import File
from tests.unit.nginx_process import ask, eventually, example_config, free_ports, nginx, upstream

CONFIG = example_config(clients={"ci": {"streams": 2}, "default": {}})
CHAT = "/v1/chat/completions"


@dataclass
class Running:
    """A router and the way to give it another split."""

    router: Router
    reload: Callable[[], None]
    folder: Path

    @property
    def port(self) -> int:
        return self.router.ports[0]

    def split(self, text: str) -> None:
        """What tandemctl does: write, reload, wait for the proof."""
        Path(self.router.split).write_text(text)
        self.reload()
        status_port = self.router.status_port
        eventually(lambda: ask(status_port, "/split").text.strip(), split_revision(text), unbroken_seconds=0.4)

    def who(self, chat: str | None = None) -> str:
        # Every chat has a person of its own, who stays within the limits.
        headers = {} if chat is None else {"X-OpenWebUI-Chat-Id": chat, "X-OpenWebUI-User-Id": chat}
        if chat is None:
            headers = {"X-OpenWebUI-User-Id": str(uuid.uuid4())}
        return str(json.loads(ask(self.router.ports[-1], CHAT, headers, "POST", b"{}").text)["from"])


def start(router: Router, folder: Path) -> Iterator[Running]:
    *ports, status = free_ports(len(router.ports) + 1)
    log, split = str(folder / "access.json"), str(folder / "split.conf")
    router = replace(router, ports=tuple(ports), status_port=status, split=split, access_log=log)
    with nginx(with_config_digest(router_config(CONFIG, router)), folder / "prefix") as reload:
        yield Running(router, reload, folder)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start(ENGINE, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start(WEBUI, tmp_path_factory.mktemp("webui"))


@pytest.fixture
def ports() -> Iterator[dict[str, list[int]]]:
    """Three running engines that answer with their slot and place."""
    with upstream("blue-0") as zero, upstream("blue-1") as one, upstream("green-0") as green:
        yield {"blue": [zero.port, one.port], "green": [green.port]}


def test_before_the_split_is_written_it_runs_and_says_that_nothing_serves(engine: Running, webui: Running) -> None:
    answer = ask(engine.port, CHAT, {}, "POST", b"{}")
    assert (answer.status, json.loads(answer.text)["error"]["type"]) == (503, "server_error")
    assert ask(webui.port, "/").status == 503
    assert ask(engine.router.status_port, "/split").text == "none\n"


def test_all_traffic_goes_to_the_slot_that_has_all(engine: Running, ports: dict[str, list[int]]) -> None:
    for weights, slot in (({"blue": 100}, "blue"), ({"blue": 0, "green": 100}, "green")):
        engine.split(engine_split(ports, weights))
        assert {engine.who(f"chat-{number}").split("-")[0] for number in range(30)} == {slot}


def test_a_conversation_stays_with_its_engine_and_others_spread(engine: Running, ports: dict[str, list[int]]) -> None:
    engine.split(engine_split(ports, {"blue": 50, "green": 50}))
    chats = [f"chat-{number}" for number in range(60)]
    first = [engine.who(chat) for chat in chats]
    assert [engine.who(chat) for chat in chats] == first
    assert set(first) == {"blue-0", "blue-1", "green-0"}
    assert len({engine.who() for _ in range(40)}) == 3


@pytest.mark.parametrize("growing", ["blue", "green"])
def test_a_growing_share_only_adds_conversations(engine: Running, ports: dict[str, list[int]], growing: str) -> None:
    shrinking = "green" if growing == "blue" else "blue"
    chats = [f"chat-{number}" for number in range(100)]
    before: set[str] = set()
    for share in (10, 50, 100):
        engine.split(engine_split(ports, {growing: share, shrinking: 100 - share}, salt="r1"))
        moved = {chat for chat in chats if engine.who(chat).startswith(growing)}
        assert before <= moved
        assert abs(len(moved) - share) <= 15
        before = moved


def test_conversations_of_a_dead_engine_go_to_its_neighbour_then_to_the_other_slot(engine: Running) -> None:
    dead, gone = free_ports(2)
    with upstream("blue-1") as neighbour, upstream("green-0") as green:
        engine.split(engine_split({"blue": [dead, neighbour.port], "green": [green.port]}, {"blue": 100}))
        answers = [engine.who(f"chat-{number}") for number in range(30)]
        assert answers.count("blue-1") >= 28
        engine.split(engine_split({"blue": [dead, gone], "green": [green.port]}, {"blue": 100}))
        assert {engine.who(f"chat-{number}") for number in range(30)} == {"green-0"}
        assert len(green.seen) + len(neighbour.seen) == 60


def test_a_request_that_an_engine_has_read_is_never_sent_twice(engine: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dying, upstream("green-0") as green:

        def read_and_die() -> None:
            connection, _ = dying.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=read_and_die)
        thread.start()
        engine.split(engine_split({"blue": [dying.getsockname()[1]], "green": [green.port]}, {"blue": 100}))
        answer = ask(engine.port, CHAT, {}, "POST", b"{}")
        thread.join()
        assert (answer.status, json.loads(answer.text)["error"]["code"]) == (503, 503)
        assert green.seen == []


def test_one_person_is_limited_others_and_other_listeners_are_not(engine: Running) -> None:
    api, webui = engine.router.ports
    with upstream("blue-0") as blue:
        engine.split(engine_split({"blue": [blue.port]}, {"blue": 100}))
        answers = [ask(webui, CHAT, {"X-OpenWebUI-User-Id": "eager"}, "POST", b"{}") for _ in range(16)]
        statuses = [answer.status for answer in answers]
        assert statuses[:11] == [200] * 11
        assert 429 in statuses
        limited = next(answer for answer in answers if answer.status == 429)
        assert (json.loads(limited.text)["error"]["type"], limited.headers["Retry-After"]) == ("rate_limit_error", "1")
        assert len(blue.seen) == statuses.count(200)
        assert ask(webui, CHAT, {"X-OpenWebUI-User-Id": "calm"}, "POST", b"{}").status == 200
        assert [ask(webui, "/v1/models", {"X-OpenWebUI-User-Id": "eager"}).status for _ in range(15)] == [200] * 15
        claims = {"X-OpenWebUI-User-Id": "eager"}
        assert [ask(api, CHAT, claims, "POST", b"{}").status for _ in range(15)] == [200] * 15


def test_a_client_has_only_so_many_answers_in_progress_and_then_again_one(engine: Running) -> None:
    def begin(client: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)
        connection.request("POST", CHAT, b"{}", {"X-Tandem-Client": client, "Accept": "text/event-stream"})
        return connection.getresponse()

    with upstream("blue-0") as blue:
        engine.split(engine_split({"blue": [blue.port]}, {"blue": 100}))
        first, second, third, other = (begin(client) for client in ("ci", "ci", "ci", "default"))
        assert [answer.status for answer in (first, second, third, other)] == [200, 200, 429, 200]
        assert third.headers["Retry-After"] == "1"
        assert first.read().count(b"data: ") == 5
        assert begin("ci").status == 200


def test_who_asks_stays_between_the_webui_and_the_router(engine: Running) -> None:
    with upstream("blue-0") as blue:
        engine.split(engine_split({"blue": [blue.port]}, {"blue": 100}))
        claims = {"X-OpenWebUI-User-Email": "a@ai.example", "X-OpenWebUI-User-Id": "1", "X-Tandem-Client": "ci"}
        ask(engine.router.ports[-1], CHAT, claims, "POST", b"{}")
    assert not [name for name in blue.seen[-1][2] if name.startswith(("x-openwebui", "x-tandem"))]


def test_the_log_names_the_slot(engine: Running) -> None:
    with upstream("green-0") as green:
        engine.split(engine_split({"green": [green.port]}, {"green": 100}))
        ask(engine.port, CHAT, {"X-Request-Id": "in-the-log"}, "POST", b"{}")
        log = engine.folder / "access.json"
        eventually(lambda: "in-the-log" in log.read_text(), True)
    (line,) = [one for one in map(json.loads, log.read_text().splitlines()) if one["request_id"] == "in-the-log"]
    assert (line["slot"], line["status"], line["upstream_status"]) == ("green", 200, "200")


def test_only_v1_is_served_and_no_connection_is_kept(engine: Running, ports: dict[str, list[int]]) -> None:
    engine.split(engine_split(ports, {"blue": 100}))
    for port in engine.router.ports:
        assert ask(port, "/metrics").status == 404
        assert ask(port, "/invocations", {}, "POST", b"{}").status == 404
        assert ask(port, "/v1/../metrics").status == 404
        assert ask(port, "/v1/models").headers["Connection"] == "close"


def test_the_request_id_is_passed_on_or_made(engine: Running) -> None:
    with upstream("blue-0") as blue:
        engine.split(engine_split({"blue": [blue.port]}, {"blue": 100}))
        ask(engine.port, CHAT, {"X-Request-Id": "from-the-edge"}, "POST", b"{}")
        ask(engine.port, CHAT, {}, "POST", b"{}")
    assert blue.seen[0][2]["x-request-id"] == "from-the-edge"
    assert len(blue.seen[1][2]["x-request-id"]) == 32


def test_a_broken_split_leaves_the_old_one_serving(engine: Running, ports: dict[str, list[int]]) -> None:
    good = engine_split(ports, {"blue": 0, "green": 100})
    engine.split(good)
    Path(engine.router.split).write_text("split_clients {")
    engine.reload()
    errors = engine.folder / "prefix/errors"
    eventually(lambda: "[emerg]" in errors.read_text(), True)
    assert engine.who() == "green-0"
    assert ask(engine.router.status_port, "/split").text.strip() == split_revision(good)


def test_the_page_goes_to_the_serving_webui_and_a_friendly_503_stands_in(webui: Running) -> None:
    (dead,) = free_ports(1)
    with upstream("webui") as serving:
        webui.split(webui_split(serving.port))
        assert json.loads(ask(webui.port, "/").text) == {"from": "webui"}
    webui.split(webui_split(dead))
    answer = ask(webui.port, "/c/1")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Content-Type"] == "text/html"
    assert "<h1>Back in a moment</h1>" in answer.text


def test_the_active_configuration_says_its_digest(engine: Running, webui: Running) -> None:
    for running in (engine, webui):
        digest = config_digest(router_config(CONFIG, running.router))
        assert ask(running.router.status_port, "/config").text == f"{digest}\n"


def test_the_tree_holds_both_routers_and_never_the_split() -> None:
    tree = render_router(CONFIG)
    assert sorted(group.base for group in tree.groups) == ["/etc/tandem/router-engine", "/etc/tandem/router-webui"]
    assert not [path for path in tree.entries if "split" in path]
    served = served_routers(CONFIG)
    assert set(served) == {"tandem-router-engine", "tandem-router-webui"}
    for group in tree.groups:
        digest = served[f"tandem-{group.base.rsplit('/', 1)[1]}"]
        assert f'return 200 "{digest}\\n"' in group.files["nginx.conf"].content


@pytest.mark.parametrize("router", [ENGINE, WEBUI])
def test_the_units_are_hardened(router: Router, tmp_path: Path) -> None:
    entry = render_router(CONFIG).entries[f"/etc/systemd/system/{router.unit}.service"]
    assert isinstance(entry, File)
    path = tmp_path / f"{router.unit}.service"
    path.write_text(entry.content)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
