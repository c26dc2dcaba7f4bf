"""The library of prompts: its files, the decisions, and the program against a server with the API's rules."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tandem.commands import program_source
from tandem.config import ConfigError
from tandem.config.inlined import inlined
from tandem.domain.prompts import Prompt, compare, parse

FILE = "---\ncommand: translate\ntitle: Translate a text\ntag: writing\n---\nTranslate {{text}}.\n"
A, B = Prompt("a", "A", "office", "first"), Prompt("b", "B", "study", "second")
EMAIL, PASSWORD = "admin@chat.example", "a-planted-password-1"
NOTHING: dict[str, list[str]] = {"create": [], "update": [], "remember": [], "kept": []}


def test_a_file_is_a_head_and_a_text() -> None:
    assert parse(FILE) == Prompt("translate", "Translate a text", "writing", "Translate {{text}}.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Translate.", "has no head"),
        (FILE.replace("title: Translate a text\n", ""), "has no title"),
        (FILE.replace("tag: writing", "tag:"), "has no tag"),
        (FILE.replace("tag: writing", "tag: writing\ntag: study"), "'tag: study'"),
        (FILE.replace("tag:", "label:"), "'label: writing'"),
        (FILE.replace("command: translate", "command: /translate"), "without a /"),
        (FILE.replace("Translate {{text}}.", " "), "has no text"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.md").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.md .*nothing was changed on gpu1") as raised:
        inlined({"webui": {"prompts": str(tmp_path)}}, "gpu1")
    assert problem in str(raised.value)


def test_two_files_may_not_have_one_command(tmp_path: Path) -> None:
    for name in ("x.md", "y.md"):
        (tmp_path / name).write_text(FILE)
    with pytest.raises(ConfigError, match=r"y\.md has the command 'translate' of another file"):
        inlined({"webui": {"prompts": str(tmp_path)}}, "gpu1")


def test_a_file_that_is_not_text_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"x\.md is not UTF-8 text"):
        inlined({"webui": {"prompts": str(tmp_path)}}, "gpu1")
    with pytest.raises(ConfigError, match="absent can't be read"):
        inlined({"webui": {"prompts": "absent"}}, "gpu1")


def test_none_offers_none_and_the_projects_own_library_is_the_default() -> None:
    assert inlined({"webui": {"prompts": None}}, "gpu1")["webui"]["prompts"] == []
    library = [Prompt(**one) for one in inlined({"webui": {}}, "gpu1")["webui"]["prompts"]]
    assert {prompt.tag for prompt in library} == {"writing", "programming", "study", "office"}
    assert len(library) >= 12


def test_what_people_changed_or_removed_is_left_alone_and_said_once() -> None:
    wanted, old = {"a": "new"}, {"a": "old"}
    assert compare(wanted, {}, {}).create == ["a"]
    assert compare(wanted, old, {"a": "old"}).update == ["a"]
    assert compare(wanted, {}, {"a": "new"}).remember == ["a"]
    for applied, present in ((old, {"a": "theirs"}), (old, {}), ({}, {"a": "theirs"})):
        work = compare(wanted, applied, present)
        assert (len(work.kept), work.create, work.update) == (1, [], [])
        assert not compare(wanted, wanted, present).due


@dataclass
class Webui:
    """Open WebUI's rules for signing in and for prompts, as 0.12.4 has them. ``switched_off``: taken, not listed."""

    port: int = 0
    admin: str = "admin-1"
    password: str = PASSWORD
    too_often: int = 0
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    switched_off: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, session: str | None, body: Any) -> tuple[int, Any]:
        self.asked.append(path)
        if path == "/api/v1/auths/signin":
            if self.too_often:
                self.too_often -= 1
                return 429, {}
            right = body == {"email": EMAIL, "password": self.password}
            return (200, {"token": "t", "role": "admin", "id": self.admin}) if right else (400, {})
        if session != "Bearer t":
            return 401, {}
        if path == "/api/v1/prompts/":
            return 200, list(self.prompts.values())
        if path == "/api/v1/prompts/create":
            if body["command"] in self.prompts.keys() | self.switched_off:
                return 400, {}
            self.prompts[body["command"]] = {**body, "id": f"id-{body['command']}"}
            return 200, self.prompts[body["command"]]
        command = path.split("/id-")[1].removesuffix("/update")
        self.prompts[command] |= body
        return 200, self.prompts[command]


@pytest.fixture
def webui() -> Iterator[Webui]:
    one = Webui()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = one.answer(self.path, self.headers["Authorization"], json.loads(body) if body else None)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield one
    server.shutdown()
    server.server_close()


@dataclass
class Host:
    root: Path
    webui: Webui

    @property
    def access(self) -> dict[str, str]:
        names = {name: str(self.root / name) for name in ("password", "database", "record")}
        return {"webui": f"http://127.0.0.1:{self.webui.port}", "email": EMAIL, **names}

    def run(self, question: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", "-c", program_source("prompts"), json.dumps(question)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert PASSWORD not in done.stdout + done.stderr + json.dumps(question)
        return done

    def look(self, *wanted: Prompt) -> dict[str, Any]:
        done = self.run({**self.access, "wanted": {one.command: one.digest for one in wanted}})
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def apply(self, *wanted: Prompt) -> "subprocess.CompletedProcess[str]":
        (self.root / "library").write_text(json.dumps([asdict(one) for one in wanted]))
        return self.run({**self.access, "library": str(self.root / "library")})

    def settle(self, *wanted: Prompt) -> None:
        """Applies twice and looks: the second time there is nothing to do."""
        for _ in range(2):
            assert self.apply(*wanted).returncode == 0
        assert {**self.look(*wanted), "why": None} == {**NOTHING, "why": None, "later": False}


@pytest.fixture
def host(tmp_path: Path, webui: Webui) -> Host:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "database").touch()
    return Host(tmp_path, webui)


def test_a_library_is_offered_to_everybody_and_the_second_time_nobody_is_asked(host: Host) -> None:
    assert host.look(A, B)["create"] == ["a", "b"]
    host.settle(A, B)
    everybody = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    assert [one["access_grants"] for one in host.webui.prompts.values()] == [everybody, everybody]
    assert (host.root / "record").stat().st_mode & 0o777 == 0o600
    host.webui.asked.clear()
    host.look(A, B)
    assert host.webui.asked == []


def test_an_edited_file_updates_an_untouched_prompt_and_its_audience_stays(host: Host) -> None:
    host.settle(A)
    host.webui.prompts["a"]["access_grants"] = ["theirs"]
    edited = replace(A, content="edited")
    assert host.look(edited)["update"] == ["a"]
    host.settle(edited)
    assert (host.webui.prompts["a"]["content"], host.webui.prompts["a"]["access_grants"]) == ("edited", ["theirs"])


def test_what_people_changed_and_removed_survives_an_edited_file(host: Host) -> None:
    host.settle(A, B)
    host.webui.prompts["a"]["content"] = "theirs"
    del host.webui.prompts["b"]
    edited = (replace(A, content="edited"), replace(B, content="edited"))
    assert len(host.look(*edited)["kept"]) == 2
    host.settle(*edited)
    assert [one["content"] for one in host.webui.prompts.values()] == ["theirs"]


def test_a_new_database_is_given_the_whole_library_and_a_copied_one_only_a_new_record(host: Host) -> None:
    host.settle(A)
    (host.root / "copy").touch()
    os.rename(host.root / "copy", host.root / "database")
    assert host.look(A) == {**NOTHING, "remember": ["a"], "why": None, "later": False}
    host.settle(A)
    host.webui.prompts.clear()
    host.webui.admin = "admin-2"
    (host.root / "new").touch()
    os.rename(host.root / "new", host.root / "database")
    assert host.look(A)["create"] == ["a"]
    host.settle(A)
    assert list(host.webui.prompts) == ["a"]


def test_a_prompt_that_was_switched_off_stays_off(host: Host) -> None:
    host.webui.switched_off.add("a")
    host.settle(A)
    assert host.webui.prompts == {}


def test_a_run_cut_short_goes_on_where_it_was(host: Host) -> None:
    host.settle(A, B)
    record = json.loads((host.root / "record").read_text())
    del record["applied"]["b"]
    (host.root / "record").write_text(json.dumps(record))
    assert host.look(A, B)["remember"] == ["b"]
    host.settle(A, B)


def test_another_password_is_said_and_asking_again_would_not_help(host: Host) -> None:
    host.webui.password = "changed in the page"
    seen = host.look(A)
    assert (seen["later"], "tandemctl credentials" in seen["why"]) == (False, True)
    assert host.apply(A).returncode == 1


def test_before_the_first_start_it_is_not_known(host: Host) -> None:
    (host.root / "password").unlink()
    assert host.look(A)["later"]
    (host.root / "password").write_text(PASSWORD)
    host.webui.port = 1
    assert (host.look(A)["why"], host.look(A)["later"]) == ("the WebUI does not answer", True)


def test_too_many_sign_ins_are_waited_for(host: Host) -> None:
    host.webui.too_often = 1
    done = host.apply(A)
    assert (done.returncode, "lets nobody sign in so often" in done.stdout) == (0, True)
    assert list(host.webui.prompts) == ["a"]
