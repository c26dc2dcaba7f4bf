"""Rotation on a host of its own: real secrets, a real Nginx as the gate, and a WebUI that speaks Open WebUI's API."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.refused import Refused
from tandem.hostside import gate, rotation, secrets, secrets_commands, traffic, webui_password
from tandem.hostside.arguments import parser
from tandem.hostside.paths import Paths
from tandem.hostside.probe import request, served
from tandem.hostside.secret_files import Owners
from tandem.hostside.traffic import NotTaken
from tandem.render.rotation import render_rotation, rotation_units
from tandem.render.tree import File
from tests.unit.nginx_process import example_config
from tests.unit.serving import program, unit_block

OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
ORDER: dict[str, Any] = {
    "users": ["alice", "bob"],
    "clients": ["bot", "ci"],
    "names": ["ai.example"],
    "certificate": {"kind": "generated"},
    "given": {},
    "owners": OWNERS,
}
NGINX = """
daemon off; worker_processes 1; worker_shutdown_timeout 1s; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; map_hash_bucket_size 512;
    include {secrets}/gate/*.conf;
    server {{
        listen 127.0.0.1:{port};
        location = /config {{ return 200 "c0ffee $secrets_revision\\n"; }}
        location = /cookie {{ return 200 "$gate_token"; }}
        location = /key {{ return 200 "$key_match"; }}
    }}
}}
"""
RELOAD = "echo $2 >>{folder}/reloads; kill -HUP $(cat {folder}/pid)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "secrets"
    secrets.ensure(root, **ORDER)
    return root


@pytest.fixture
def paths(made: Path, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A host with secrets, on which no gate runs yet."""
    paths = Paths(tmp_path / "host", {gate.UNIT: free_port})
    paths.secrets.parent.mkdir(parents=True)
    shutil.copytree(made, paths.secrets)
    order = {"names": ORDER["names"], "certificate": ORDER["certificate"]}
    (paths.root / "etc/tandem/certificate.json").write_text(json.dumps(order))
    systemctl(tmp_path, "inactive", "dead")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return paths


@pytest.fixture
def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return int(server.server_address[1])


@pytest.fixture
def running(paths: Paths, tmp_path: Path) -> Iterator[Paths]:
    """The same with a gate that has loaded those secrets."""
    port = paths.status_ports[gate.UNIT]
    (tmp_path / "conf").write_text(NGINX.format(folder=tmp_path, secrets=paths.secrets, port=port))
    command = ["nginx", "-e", str(tmp_path / "log"), "-p", str(tmp_path), "-c", str(tmp_path / "conf")]
    with subprocess.Popen(command) as process:
        while not served(paths.status_ports)[gate.UNIT]:
            assert process.poll() is None
            time.sleep(0.02)
        systemctl(tmp_path)
        yield paths
        process.terminate()


def systemctl(folder: Path, active: str = "active", sub: str = "running", reload: str = RELOAD) -> None:
    act = reload.format(folder=folder)
    show = f"cat <<'END'\n{unit_block(gate.UNIT, active, sub)}END\n"
    program(folder / "bin", "systemctl", f"if [ $1 = show ]; then {show}else {act}; fi")


def rotate(paths: Paths, what: str) -> list[str]:
    return rotation.rotate(paths, what, OWNERS)


def text(paths: Paths, name: str) -> str:
    return (paths.secrets / name).read_text().strip()


def token(paths: Paths, whose: str) -> str:
    found = re.search(rf'([0-9a-f]{{64}}) "{whose}"', text(paths, "gate/people.conf"))
    assert found
    return found[1]


def opens(paths: Paths, cookie: str) -> str:
    """What the running gate makes of this cookie."""
    url = f"http://127.0.0.1:{paths.status_ports[gate.UNIT]}/cookie"
    return request("GET", url, 5, {"Cookie": f"tandem_gate={cookie}"})[1].decode()


def is_client(paths: Paths, key: str) -> str:
    url = f"http://127.0.0.1:{paths.status_ports[gate.UNIT]}/key"
    return request("GET", url, 5, {"Authorization": f"Bearer {key}"})[1].decode().partition("|")[0]


def reloads(paths: Paths) -> int:
    asked = paths.root.parent / "reloads"
    return len(asked.read_text().splitlines()) if asked.exists() else 0


def test_a_key_is_replaced_in_the_running_gate_and_no_other(running: Paths) -> None:
    old, other, edge = text(running, "keys/ci"), text(running, "keys/bot"), secrets.revision(running.secrets)
    assert rotate(running, "keys/ci") == ["keys/ci", "gate/keys.conf", "gate/revision.conf"]
    new = text(running, "keys/ci")
    assert [is_client(running, key) for key in (old, new, other)] == ["", "ci", "bot"]
    assert secrets.revision(running.secrets) == edge
    assert reloads(running) == 1
    assert secrets.ensure(running.secrets, **ORDER) == []
    assert gate.tell(running) is False


def test_a_password_is_replaced_and_only_its_user_asked_again(running: Paths) -> None:
    old, other = token(running, "current:alice"), token(running, "current:bob")
    changed = rotate(running, "passwords/alice")
    assert changed == [
        *("passwords/alice", "gate/htpasswd", "gate/people.conf", "gate/revision.conf"),
    ]
    assert [opens(running, cookie) for cookie in (old, other)] == ["", "current:bob"]
    assert opens(running, token(running, "current:alice")) == "current:alice"
    assert secrets.ensure(running.secrets, **ORDER) == []


def test_the_gate_takes_the_cookies_of_before_and_not_those_before_that(running: Paths) -> None:
    first = token(running, "current:alice")
    for expected in ("previous:alice", ""):
        rotate(running, "gate")
        assert opens(running, first) == expected
        assert opens(running, token(running, "current:alice")) == "current:alice"
    assert reloads(running) == 2
    assert secrets.ensure(running.secrets, **ORDER) == []


PROGRAM = """
import os, sys
from pathlib import Path
from tandem.hostside import rotation
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners
left, real = int(sys.argv[1]), Path.rename
def rename(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    return real(self, target)
Path.rename = rename
owners = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
rotation.rotate(Paths(Path(sys.argv[2]), {"tandem-gate": int(sys.argv[3])}), sys.argv[4], owners)
"""


def killed(paths: Paths, what: str, after_renames: int) -> bool:
    """Rotate in a process that dies before one of its renames; whether it did."""
    port = str(paths.status_ports[gate.UNIT])
    command = [sys.executable, "-c", PROGRAM, str(after_renames), str(paths.root), port, what]
    return subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("after", range(1, 6))
def test_killed_in_the_middle_of_a_gate_rotation_nobody_is_put_out(running: Paths, after: int) -> None:
    """However often a call is repeated: the cookies of before must not fall out because of that."""
    first = token(running, "current:alice")
    deaths = 0
    while killed(running, "gate", after):
        deaths += 1
    assert deaths == {1: 4, 2: 2}.get(after, 1 if after < 5 else 0)
    assert opens(running, first) == "previous:alice"
    assert opens(running, token(running, "current:alice")) == "current:alice"
    assert not (running.secrets / rotation.GATE_NEXT).exists()
    assert secrets.ensure(running.secrets, **ORDER) == []


@pytest.mark.parametrize("what", ["keys/ci", "passwords/alice", "certificate"])
@pytest.mark.parametrize("after", range(3))
def test_killed_in_the_middle_the_next_call_or_install_converges(running: Paths, what: str, after: int) -> None:
    killed(running, what, after)
    if after % 2:
        rotate(running, what)
    secrets.ensure(running.secrets, **ORDER)
    gate.tell(running)
    assert secrets.ensure(running.secrets, **ORDER) == []
    assert not gate.behind(running)
    assert is_client(running, text(running, "keys/ci")) == "ci"
    assert opens(running, token(running, "current:alice")) == "current:alice"


def test_a_reload_that_does_not_take_is_told_and_made_good_by_the_next_call(
    running: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl(running.root.parent, reload="true")
    monkeypatch.setattr(traffic, "RELOAD_SECONDS", 0.3)
    with pytest.raises(NotTaken, match="tandem-gate was reloaded, but uses secrets"):
        rotate(running, "gate")
    assert gate.behind(running)
    first = token(running, "previous:alice")
    systemctl(running.root.parent)
    monkeypatch.setattr(traffic, "RELOAD_SECONDS", 10)
    rotate(running, "gate")
    assert not gate.behind(running)
    assert opens(running, first) == "previous:alice"


def test_a_gate_that_does_not_run_reads_them_when_it_starts(paths: Paths) -> None:
    assert rotate(paths, "keys/ci") == ["keys/ci", "gate/keys.conf", "gate/revision.conf"]
    assert reloads(paths) == 0
    assert not gate.behind(paths)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("upstream_key", "restart of all of them"),
        ("webui_secret_key", "ends them all"),
        ("keys/nobody", "keys/bot, keys/ci, gate"),
        ("../keys/ci", "there is no '../keys/ci'"),
        ("webui_admin_password", "nothing serves yet"),
    ],
)
def test_what_can_not_be_rotated_is_refused_with_the_reason(paths: Paths, what: str, sentence: str) -> None:
    before = {path: path.read_bytes() for path in paths.secrets.rglob("*") if path.is_file()}
    with pytest.raises(Refused, match=re.escape(sentence)):
        rotate(paths, what)
    assert {path: path.read_bytes() for path in paths.secrets.rglob("*") if path.is_file()} == before


def test_a_certificate_is_made_anew_without_telling_anybody(running: Paths) -> None:
    before = text(running, "edge/tls.pem"), text(running, "edge/ca.crt")
    assert rotate(running, "certificate") == ["edge/tls.pem"]
    assert (text(running, "edge/tls.pem") != before[0], text(running, "edge/ca.crt")) == (True, before[1])
    assert reloads(running) == 0
    order = {"names": ["ai.example"], "certificate": {"kind": "files"}}
    (running.root / "etc/tandem/certificate.json").write_text(json.dumps(order))
    with pytest.raises(Refused, match="of kind files"):
        rotate(running, "certificate")


def test_only_what_is_old_enough_is_due(paths: Paths) -> None:
    assert not rotation.old(paths, "gate", 1)
    an_hour_ago = time.time() - 3700
    os.utime(paths.secrets / "gate_secret", (an_hour_ago, an_hour_ago))
    assert rotation.old(paths, "gate", 1)
    assert set(rotation.ages(paths)) == {
        *("passwords/alice", "passwords/bob", "keys/bot", "keys/ci", "gate", "webui_admin_password", "certificate"),
        *("upstream_key", "webui_secret_key"),
    }


def test_the_timer_asks_daily_and_the_service_renews_after_the_days_of_the_option(tmp_path: Path) -> None:
    config = example_config(gate_days=7)
    tree = render_rotation(config)
    assert [unit.name for unit in rotation_units(config)] == ["tandem-gate-rotate.timer", "tandem-gate-rotate.service"]
    names = []
    for path, entry in tree.entries.items():
        assert isinstance(entry, File)
        names.append(tmp_path / Path(path).name)
        # The program is on the host, not here.
        names[-1].write_text(entry.content.replace("/usr/local/bin/tandemctl", "/bin/true"))
    service, timer = (name.read_text() for name in names)
    assert "ExecStart=/bin/true secrets rotate gate --older-than-hours 156\n" in service
    assert "Persistent=true\n" in timer
    words = ["secrets", "rotate", "gate", "--older-than-hours", "156"]
    assert parser().parse_args(words).command == "secrets rotate"
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "tandem-" in line and "RestartMode" not in line] == []


class Page:
    """Signs in and changes a password as Open WebUI 0.12 does."""

    def __init__(self, password: str) -> None:
        self.password, self.asked, self.answers = password, 0, True

    @contextmanager
    def serve(self, paths: Paths) -> Iterator["Page"]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = page.answer(self.path, body, self.headers.get("Authorization", ""))
                if not page.answers and self.path.endswith("/update/password"):
                    return  # it was done, and nobody hears of it
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            serving(paths, server.server_address[1])
            yield self
            server.shutdown()

    def answer(self, path: str, body: dict[str, str], session: str) -> tuple[int, Any]:
        self.asked += 1
        if path == "/api/v1/auths/signin" and body["email"] == "admin@ai.example":
            good = body["password"] == self.password
            return (200, {"token": "session"}) if good else (400, {"detail": "invalid"})
        if path == "/api/v1/auths/update/password" and session == "Bearer session":
            if body["password"] != self.password:
                return 400, {"detail": "incorrect"}
            self.password = body["new_password"]
            return 200, True
        return 401, {"detail": "?"}


def serving(paths: Paths, port: int) -> None:
    """The record of what serves, and the WebUI's unit."""
    slot = {"release": "a", "digest": "d" * 16, "engine_ports": [18100], "weight": 100}
    record = {"schema": 1, "state": "idle", "serving": "blue", "slots": {"blue": slot}, "held": None}
    paths.state.parent.mkdir(parents=True, exist_ok=True)
    paths.state.write_text(json.dumps({**record, "webui": {"slot": "blue", "port": port}}))
    paths.containers.mkdir(parents=True, exist_ok=True)
    unit = '[Container]\nEnvironment="PORT=1"\nEnvironment="WEBUI_ADMIN_EMAIL=admin@ai.example"\n'
    (paths.containers / "open-webui-blue.container").write_text(unit)


def test_the_administrators_password_is_changed_in_the_webui_and_kept(paths: Paths) -> None:
    with Page(text(paths, "webui_admin_password")).serve(paths) as page:
        before = page.password
        assert rotate(paths, "webui_admin_password") == ["webui_admin_password", "webui/env"]
        assert text(paths, "webui_admin_password") == page.password != before
    assert not (paths.secrets / webui_password.NEXT).exists()
    assert secrets.ensure(paths.secrets, **ORDER) == []


def test_a_change_that_nobody_heard_of_is_found_out_by_the_next_call(paths: Paths) -> None:
    with Page(text(paths, "webui_admin_password")).serve(paths) as page:
        page.answers = False
        with pytest.raises(RemoteDisconnected):
            rotate(paths, "webui_admin_password")
        assert text(paths, "webui_admin_password") != page.password
        page.answers = True
        rotate(paths, "webui_admin_password")
        assert text(paths, "webui_admin_password") == page.password
        assert secrets.ensure(paths.secrets, **ORDER) == []


def test_a_password_that_was_changed_in_the_webui_is_left_alone(paths: Paths) -> None:
    with Page("chosen-by-the-admin").serve(paths) as page:
        before = text(paths, "webui_admin_password")
        with pytest.raises(Refused, match="can't sign in") as error:
            rotate(paths, "webui_admin_password")
        assert (page.password, text(paths, "webui_admin_password")) == ("chosen-by-the-admin", before)
        assert before not in str(error.value)
        store = secrets.opened(paths.secrets, OWNERS)
        webui_password.change(store, paths, "chosen-by-the-admin")
        assert text(paths, "webui_admin_password") == "chosen-by-the-admin"


def test_a_given_administrators_password_reaches_the_webui(paths: Paths) -> None:
    with Page(text(paths, "webui_admin_password")).serve(paths) as page:
        webui_password.change(secrets.opened(paths.secrets, OWNERS), paths, "given-by-the-operator")
        assert page.password == text(paths, "webui_admin_password") == "given-by-the-operator"


def test_who_is_removed_is_out_although_the_webui_refuses_the_password_of_the_same_run(running: Paths) -> None:
    bob = token(running, "current:bob")
    assert opens(running, bob) == "current:bob"
    order = {**ORDER, "users": ["alice"], "given": {webui_password.NAME: "given-by-the-operator"}}
    with Page("chosen-by-the-admin").serve(running), pytest.raises(Refused, match="can't sign in"):
        secrets_commands._ensure(order, running)
    assert opens(running, bob) == ""
