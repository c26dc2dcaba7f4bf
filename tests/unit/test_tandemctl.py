import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.hostside import lock, traffic
from tandem.hostside.paths import Paths
from tandem.hostside.probe import request
from tandem.hostside.split import split_revision
from tandem.hostside.tandemctl import main
from tests.unit.serving import Behaviour, program, serving, unit_block

ADOPT = ["adopt", "--release", "2026.11", "--digest", "a" * 16, "--slot", "blue"]
PLACE = ["--engine-ports", "18100,18101", "--webui-port", "18300"]


NGINX = """
daemon off; worker_processes 1; worker_shutdown_timeout 1s; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    map "" $split_revision {{ default none; }}
    include {split}*;
    server {{ listen 127.0.0.1:{port}; location = /split {{ return 200 "$split_revision\\n"; }} }}
}}
"""
ROUTERS = {"tandem-router-engine": "engine.conf", "tandem-router-webui": "webui.conf"}
RELOAD = "kill -HUP $(cat {folder}/${{2%.service}}/pid)"


def systemctl(folder: Path, reload: str = RELOAD) -> None:
    """A systemctl that knows two running routers, writes down what it is asked to reload, and does that."""
    blocks = "\n".join([*map(unit_block, ROUTERS), unit_block("tandem-gate", "inactive", "dead", load="not-found")])
    act = f"echo $2 >>{folder}/reloads; {reload.format(folder=folder)}"
    program(folder / "bin", "systemctl", f"if [ $1 = show ]; then cat <<'END'\n{blocks}END\nelse {act}; fi")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A host of its own."""
    systemctl(tmp_path)
    program(tmp_path / "bin", "journalctl", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Paths(tmp_path / "host", {name: free_port() for name in ("tandem-edge", "tandem-gate", *ROUTERS)})


@pytest.fixture
def routers(paths: Paths) -> Iterator[None]:
    """Two real Nginx processes that include the split and say which one they use."""
    processes = []
    for name, file in ROUTERS.items():
        folder = paths.root.parent / name
        folder.mkdir()
        port = paths.status_ports[name]
        (folder / "conf").write_text(NGINX.format(folder=folder, split=paths.split / file, port=port))
        command = ["nginx", "-e", str(folder / "log"), "-p", str(folder), "-c", str(folder / "conf")]
        processes.append(subprocess.Popen(command))
    while not all(used(paths, name) for name in ROUTERS):
        assert not any(process.poll() for process in processes)
        time.sleep(0.02)
    yield
    for process in processes:
        process.terminate()
        process.wait()


def used(paths: Paths, name: str) -> str | None:
    """The revision of the split that a router uses; None before it listens."""
    try:
        return request("GET", f"http://127.0.0.1:{paths.status_ports[name]}/split", 5)[1].decode().strip()
    except ConnectionRefusedError:
        return None


def reloads(paths: Paths) -> list[str]:
    """What the routers were asked since the last call."""
    asked = paths.root.parent / "reloads"
    lines = asked.read_text().splitlines() if asked.exists() else []
    asked.unlink(missing_ok=True)
    return [line.removesuffix(".service") for line in lines]


def history(paths: Paths) -> list[str]:
    return [json.loads(line)["event"] for line in paths.history.read_text().splitlines()]


def status(paths: Paths, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main(["status", "--json"], paths) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_a_fresh_host_serves_nothing(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"], paths) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "serves    nothing yet. To begin: pyinfra INVENTORY deploys/install.py"
    assert status(paths, capsys)["serving"] is None
    assert not paths.root.exists()


@pytest.mark.usefixtures("routers")
def test_adopt_records_the_release_and_writes_the_split_once(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ADOPT, *PLACE], paths) == 0
    assert "release 2026.11 (aaaaaaaaaaaaaaaa) serves from blue" in capsys.readouterr().out
    assert "127.0.0.1:18100" in (paths.split / "engine.conf").read_text()
    assert "127.0.0.1:18300" in (paths.split / "webui.conf").read_text()
    assert reloads(paths) == list(ROUTERS)
    assert used(paths, "tandem-router-engine") == split_revision((paths.split / "engine.conf").read_text())
    before = (paths.state.stat().st_mtime_ns, paths.history.read_text())
    assert main([*ADOPT, *PLACE], paths) == 0
    assert capsys.readouterr().out.startswith("nothing to do")
    assert (paths.state.stat().st_mtime_ns, paths.history.read_text()) == before
    assert reloads(paths) == []
    assert history(paths) == ["intent", "result"]


@pytest.mark.usefixtures("routers")
def test_another_release_is_left_alone_and_said_to_be_due(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    main([*ADOPT, *PLACE], paths)
    before = paths.state.read_text()
    for _ in range(2):
        assert main([*ADOPT, *PLACE, "--release", "2026.12", "--digest", "b" * 16], paths) == 0
        assert "upgrade is due" in capsys.readouterr().out
    assert paths.state.read_text() == before


@pytest.mark.usefixtures("routers")
@pytest.mark.parametrize("harm", ["removed", "edited", "mode", "link"])
def test_a_split_file_changed_by_hand_is_repaired_alone(
    paths: Paths, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    main([*ADOPT, *PLACE], paths)
    reloads(paths)
    file, other = paths.split / "engine.conf", paths.split / "webui.conf"
    text, untouched = file.read_text(), other.stat()
    if harm == "edited":
        file.write_text(text + "# by hand\n")
    elif harm == "mode":
        file.chmod(0o666)
    else:
        file.unlink()
    if harm == "link":
        file.symlink_to(other)
    assert set(status(paths, capsys)["split_differs"]) == {"engine.conf"}  # type: ignore[call-overload]
    assert main([*ADOPT, *PLACE], paths) == 0
    assert (file.read_text(), file.is_symlink(), file.stat().st_mode & 0o7777) == (text, False, 0o644)
    assert other.stat() == untouched
    assert reloads(paths) == ["tandem-router-engine"]
    assert main([*ADOPT, *PLACE], paths) == 0
    assert reloads(paths) == []


@pytest.mark.usefixtures("routers")
@pytest.mark.parametrize(
    ("reload", "sentence"),
    [
        ("echo 'Job for the router failed.' >&2; exit 1", "Job for the router failed."),
        ("true", "was reloaded, but uses split none instead of"),
    ],
)
def test_a_reload_that_failed_is_seen_and_made_good_by_the_next_run(
    paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reload: str, sentence: str
) -> None:
    monkeypatch.setattr(traffic, "RELOAD_SECONDS", 0.3)
    systemctl(paths.root.parent, reload)
    assert main([*ADOPT, *PLACE], paths) == 1
    assert sentence in capsys.readouterr().err
    assert status(paths, capsys)["split_differs"] == {"engine.conf": "not used by its router", "webui.conf": "missing"}
    systemctl(paths.root.parent)
    monkeypatch.setattr(traffic, "RELOAD_SECONDS", 10)
    assert main([*ADOPT, *PLACE], paths) == 0
    assert status(paths, capsys)["split_differs"] == {}
    assert history(paths) == ["intent", "result"] * 2


@pytest.mark.usefixtures("routers")
def test_killed_at_any_reload_a_re_run_converges(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    program_text = (
        "import sys; from pathlib import Path; from tandem.hostside.paths import Paths; "
        "from tandem.hostside.tandemctl import main; "
        "main(sys.argv[3:], Paths(Path(sys.argv[1]), __import__('json').loads(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program_text, str(paths.root), json.dumps(paths.status_ports), *ADOPT, *PLACE]
    systemctl(paths.root.parent, "kill -9 $PPID")
    for _ in range(2):
        assert subprocess.run(command, check=False).returncode == -9
    systemctl(paths.root.parent)
    assert main([*ADOPT, *PLACE], paths) == 0
    for name, file in ROUTERS.items():
        assert used(paths, name) == split_revision((paths.split / file).read_text())
    capsys.readouterr()
    assert main([*ADOPT, *PLACE], paths) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert history(paths) == ["intent", "intent", "intent", "result"]


def test_routers_that_do_not_run_are_left_to_their_start(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = "\n".join(unit_block(name, "inactive", "dead") for name in ROUTERS)
    program(paths.root.parent / "bin", "systemctl", f"[ $1 = show ] && cat <<'END'\n{blocks}END\n")
    for _ in range(2):
        assert main([*ADOPT, *PLACE], paths) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("nothing to do")
    assert status(paths, capsys)["split_differs"] == {}


def test_a_held_lock_refuses_with_its_own_status(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    with lock.lock(paths.lock, "guard", "roll back"):
        assert main([*ADOPT, *PLACE, "--wait-seconds", "0"], paths) == 3
        assert "guard" in str(status(paths, capsys)["lock_holder"])
    assert not paths.state.exists()


def test_a_newer_record_is_refused(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.state.parent.mkdir(parents=True)
    paths.state.write_text('{"schema": 99}')
    assert main([*ADOPT, *PLACE], paths) == 3
    assert "newer Tandem" in capsys.readouterr().err
    assert paths.state.read_text() == '{"schema": 99}'


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["reboot"],
        ["secrets"],
        [*ADOPT],
        [*ADOPT, *PLACE, "--slot", "red"],
        [*ADOPT, *PLACE, "--release", "a b"],
        [*ADOPT, *PLACE, "--engine-ports", "18100,18100"],
        [*ADOPT, *PLACE, "--webui-port", "0"],
        ["wait-ready", "--timeout-seconds", "1"],
        ["wait-ready", "--timeout-seconds", "1", "--engine", "http://127.0.0.1:18100"],
        ["probe", "--model", "tiny", "--engine", "http://127.0.0.1:18100", "http://127.0.0.1:18100/"],
    ],
)
def test_wrong_usage_has_its_own_status(paths: Paths, words: list[str]) -> None:
    try:
        result = main(words, paths)
    except SystemExit as end:
        result = int(end.code or 0)
    assert result == 2
    assert not paths.root.exists()


ORDER = {
    "users": ["alice"],
    "clients": ["bot"],
    "names": ["gpu1"],
    "certificate": {"kind": "generated"},
    "given": {"passwords/alice": "hunter2hunter2"},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"given": {"passwords/alice": "hunter2hunter2"}}',
        '{"passwords/alice": "hunter2hunter2"',
        json.dumps({**ORDER, "given": {"passwords/alice": ["hunter2"]}}),
        json.dumps({**ORDER, "users": [1]}),
        json.dumps({**ORDER, "certificate": {}}),
        json.dumps({**ORDER, "basic_user": "team"}),
    ],
)
def test_a_wrong_order_for_secrets_is_refused_without_repeating_it(
    paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["secrets", "ensure"], paths) == 2
    assert "hunter2" not in "".join(capsys.readouterr())
    assert not paths.root.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="only somebody who is not root is sent away")
def test_only_root_makes_secrets(
    paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(ORDER)))
    assert main(["secrets", "ensure"], paths) == 3
    assert "Run it as root" in capsys.readouterr().err


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="secrets belong to root and to the groups of the Nginx units")


@pytest.fixture
def made(paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Paths:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(ORDER)))
    assert main(["secrets", "ensure"], paths) == 0
    capsys.readouterr()
    return paths


@AS_ROOT
def test_secrets_are_made_once_and_shown_only_by_credentials(
    paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for words in (["--dry"], [], [], ["--dry"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(ORDER)))
        assert main(["secrets", "ensure", "--json", *words], paths) == 0
        shown = "".join(capsys.readouterr())
        assert "hunter2" not in shown
        answers.append(json.loads(shown))
    assert "passwords/alice" in answers[0]["changed"]
    assert answers[0]["changed"] == answers[1]["changed"]
    assert answers[2] == answers[3] == {"changed": [], "gate_behind": False, "revisions": answers[1]["revisions"]}
    assert status(paths, capsys)["secrets_revisions"] == answers[1]["revisions"]
    assert main(["credentials"], paths) == 0
    assert "  alice: hunter2hunter2\n" in capsys.readouterr().out
    assert main(["credentials", "--json"], paths) == 0
    assert json.loads(capsys.readouterr().out)["passwords"] == {"alice": "hunter2hunter2"}


@AS_ROOT
def test_rotating_tells_where_the_new_secret_is_and_never_shows_it(
    made: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ("keys/bot", "passwords/alice", "gate"):
        assert main(["secrets", "rotate", what], made) == 0
        output = capsys.readouterr().out
        assert output.startswith(f"rotated {what}; changed: ")
        assert ("see: tandemctl credentials" in output) is (what != "gate")
    assert main(["secrets", "rotate", "gate", "--older-than-hours", "1"], made) == 0
    assert capsys.readouterr().out == "nothing to do: gate is younger than 1 hours\n"
    for wrong in ("upstream_key", "keys/nobody"):
        assert main(["secrets", "rotate", wrong], made) == 3
    assert main(["secrets", "list"], made) == 0
    shown = "".join(capsys.readouterr())
    assert "keys/bot: 0 days old" in shown
    values = [path.read_text().strip() for path in made.secrets.rglob("*") if path.is_file()]
    assert not [value for value in values if value in shown]


@AS_ROOT
def test_secrets_are_not_touched_while_somebody_else_changes_the_host(
    made: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in made.secrets.rglob("*") if path.is_file()}
    with lock.lock(made.lock, "guard", "roll back"):
        assert main(["secrets", "rotate", "gate", "--wait-seconds", "0"], made) == 3
    assert "guard" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in made.secrets.rglob("*") if path.is_file()} == before


def test_wait_ready_and_probe_ask_with_the_upstream_key(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.secrets.mkdir(parents=True)
    paths.upstream_key.write_text("f" * 64 + "\n")
    with serving(Behaviour(key="f" * 64)) as port, serving(Behaviour()) as webui:
        words = ["--engine", f"vllm-blue-0=http://127.0.0.1:{port}", "--model", "tiny"]
        words += ["--webui", f"open-webui-blue=http://127.0.0.1:{webui}", "--timeout-seconds", "5"]
        assert main(["wait-ready", *words, "--progress"], paths) == 0
        assert capsys.readouterr().out.startswith("2 of 2 ready: vllm-blue-0: ready after")
        assert main(["probe", *words], paths) == 0
        answers = json.loads(capsys.readouterr().out)
    assert {unit: answer["ready"] for unit, answer in answers.items()} == {"vllm-blue-0": True, "open-webui-blue": True}


def test_what_never_gets_ready_fails(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["wait-ready", "--webui", "open-webui-blue=http://127.0.0.1:9", "--timeout-seconds", "0.5"]
    assert main(words, paths) == 1
    assert "open-webui-blue: not listening yet" in capsys.readouterr().err


def test_the_host_side_needs_nothing_but_the_standard_library() -> None:
    program_text = "import sys; sys.path.insert(0, sys.argv[1]); import tandem.hostside.tandemctl; print(*sys.modules)"
    isolated = [sys.executable, "-I", "-S", "-c", program_text, str(Path.cwd())]
    modules = subprocess.run(isolated, check=True, capture_output=True, text=True).stdout.split()
    tandems = {name for name in modules if name.startswith("tandem.")}
    assert all(name.startswith(("tandem.hostside", "tandem.domain")) for name in tandems)
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names | {"tandem", "__main__"}


@pytest.fixture
def edge(paths: Paths) -> Iterator[Path]:
    """A real Nginx in the edge's place that says on /config what it uses; yields its configuration."""
    folder = paths.root.parent / "edge"
    port = paths.status_ports["tandem-edge"]
    text = NGINX.format(folder=folder, split=paths.split / "none", port=port).replace("/split", "/config")
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf").write_text(text.replace('"$split_revision', f'"{"a" * 16} {"b" * 16}'))
    process = subprocess.Popen(["nginx", "-e", str(folder / "log"), "-p", str(folder), "-c", str(folder / "conf")])
    while not (folder / "pid").exists():
        assert process.poll() is None
        time.sleep(0.02)
    yield folder / "conf"
    process.terminate()
    process.wait()


def test_a_configuration_that_nginx_did_not_take_over_is_told(
    paths: Paths, edge: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traffic, "RELOAD_SECONDS", 0.5)
    assert main(["served", "--expect", f"tandem-edge={'a' * 16}"], paths) == 0
    assert main(["served", "--expect", f"tandem-edge={'c' * 16}"], paths) == 1
    assert f"uses configuration {'a' * 16} instead of {'c' * 16}" in capsys.readouterr().err
    assert main(["served", "--expect", f"tandem-other={'a' * 16}"], paths) == 2
