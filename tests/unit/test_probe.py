import json
import os
import time
from pathlib import Path

import pytest

from tandem.hostside.paths import Paths
from tandem.hostside.probe import Target, engine_target, judge_completion, probe, served, webui_target
from tandem.hostside.units import Unit
from tandem.hostside.waiting import NotReady, Pace, Wait, hopeless, wait_ready
from tests.unit.serving import Behaviour, program, serving, unit_block

FAST = Pace(ask_seconds=0.05, tell_seconds=0.2, answer_seconds=5)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on PATH, with a systemctl that knows no state and a journalctl without lines."""
    folder = tmp_path / "bin"
    program(folder, "systemctl", "exit 1")
    program(folder, "journalctl", "exit 0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def engine(port: int, unit: str = "vllm-blue-0") -> Target:
    return Target(unit, f"http://127.0.0.1:{port}", "tiny")


def test_an_engine_is_ready_when_it_completes_a_request_with_the_key() -> None:
    behaviour = Behaviour(key="k" * 64)
    with serving(behaviour) as port:
        for _ in range(2):
            answer = probe([engine(port)], "k" * 64, 5)["vllm-blue-0"]
            assert (answer.ready, answer.why) == (True, "completed 8 tokens")
    asked = behaviour.asked[0]
    assert asked["path"] == "/v1/chat/completions"
    assert json.loads(asked["body"])["model"] == "tiny"
    assert json.loads(asked["body"])["max_tokens"] <= 16


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"{}", "not a completion"),
        (200, b"<html>", "not a completion"),
        (200, b'{"usage": {"completion_tokens": 0}}', "without a token"),
        (401, b"", "refuses the upstream key"),
        (404, b"", "does not serve a model of this name"),
        (500, b"", "answers 500"),
    ],
)
def test_only_a_completion_with_a_token_is_ready(status: int, body: bytes, why: str) -> None:
    ready, said = judge_completion(status, body)
    assert not ready
    assert why in said


def test_an_answer_that_does_not_come_is_not_ready_in_bounded_time() -> None:
    started = time.monotonic()
    with serving(Behaviour(delay_seconds=30)) as port:
        answers = probe([engine(port), Target("open-webui-blue", NOWHERE)], "", 0.5)
    assert not any(answer.ready for answer in answers.values())
    assert answers["vllm-blue-0"].why == "no answer within 0.5 s"
    assert answers["open-webui-blue"].why == "not listening yet"
    assert time.monotonic() - started < 5


def test_the_webui_is_ready_by_its_own_word() -> None:
    behaviour = Behaviour()
    with serving(behaviour) as port:
        target = Target("open-webui-blue", f"http://127.0.0.1:{port}")
        assert probe([target], "", 5)["open-webui-blue"].ready
        behaviour.status = 503
        assert probe([target], "", 5)["open-webui-blue"].why == "/ready answers 503"
    assert {asked["path"] for asked in behaviour.asked} == {"/ready"}


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(Behaviour()) as port:
        assert probe([engine(port)], "", 5)["vllm-blue-0"].ready


def test_the_unit_follows_from_the_port_or_is_given() -> None:
    assert engine_target("http://127.0.0.1:18101", "tiny").unit == "vllm-blue-1"
    assert engine_target("http://127.0.0.1:18200/", "tiny") == Target("vllm-green-0", "http://127.0.0.1:18200", "tiny")
    assert webui_target("http://127.0.0.1:18400").unit == "open-webui-green"
    assert engine_target("mine=http://127.0.0.1:5000", "tiny").unit == "mine"
    for wrong in ("http://127.0.0.1:5000", "127.0.0.1:18100", "https://127.0.0.1:18100", "http://127.0.0.1:18100/v1"):
        with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
            engine_target(wrong, "tiny")


def test_the_active_configuration_is_what_the_process_says() -> None:
    with serving(Behaviour(body=b"abc 7\n")) as edge, serving(Behaviour(body=b"def\n")) as router:
        seen = served({"tandem-edge": edge, "tandem-router-engine": router, "tandem-router-webui": 9})
    assert seen == {
        "tandem-edge": {"config": "abc", "secrets": "7"},
        "tandem-router-engine": {"config": "def", "secrets": None},
        "tandem-router-webui": None,
    }


def test_waiting_tells_how_it_goes_and_ends_when_all_are_ready(programs: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with serving(Behaviour()) as early, serving(Behaviour(refusals=12)) as late:
        targets = [engine(early), engine(late, "vllm-blue-1")]
        last = wait_ready(targets, "", 20, Paths(tmp_path), told.append, FAST)
    assert last.startswith("2 of 2 ready: vllm-blue-0: ready after 0 s; vllm-blue-1: ready after")
    assert told[0].startswith("1 of 2 ready: vllm-blue-0: ready after 0 s; vllm-blue-1: loading for")


def test_one_that_answered_early_must_still_answer_at_the_end(programs: Path, tmp_path: Path) -> None:
    fickle = Behaviour()
    with serving(fickle) as early, serving(Behaviour(refusals=3)) as late:
        targets = [engine(early), engine(late, "vllm-blue-1")]
        wait_ready(targets, "", 20, Paths(tmp_path), lambda _: None, FAST)
        assert len(fickle.asked) == 2


def test_a_timeout_names_the_unit_its_answer_and_what_to_do(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(NotReady) as failure:
        wait_ready([engine(9)], "", 0.5, Paths(tmp_path), lambda _: None, FAST)
    report = str(failure.value)
    for part in ("limit 0.5 s", "vllm-blue-0: not listening yet", "no log lines", "Next:", "ready_timeout_seconds"):
        assert part in report


def test_a_failed_unit_ends_the_wait_at_once_with_its_log_and_no_secret(programs: Path, tmp_path: Path) -> None:
    secret = "sk-tandem-0123456789abcdef"
    paths = Paths(tmp_path)
    paths.secrets.mkdir(parents=True)
    (paths.secrets / "api_key").write_text(secret + "\n")
    program(programs, "systemctl", f"cat <<'END'\n{unit_block('vllm-blue-0', 'failed', 'failed', 2)}END")
    program(programs, "journalctl", f"echo \"$@\" >{tmp_path}/asked; printf 'loading\\033[31m\\nkey {secret} bad\\n'")
    started = time.monotonic()
    with pytest.raises(NotReady) as failure:
        wait_ready([engine(9)], "", 60, paths, lambda _: None, FAST)
    assert time.monotonic() - started < 5
    report = str(failure.value)
    for part in ("the unit has failed", "Result=exit-code", "2 restarts", "last 2 log lines", "key [api_key] bad"):
        assert part in report
    assert secret not in report
    assert "\033" not in report
    assert "--unit=vllm-blue-0.service --lines=25" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("unit", "waited_seconds", "verdict"),
    [
        (Unit("u", "loaded", "active", "running", "success", 9, False), 1, None),
        (Unit("u", "loaded", "activating", "auto-restart", "exit-code", 2, False), 1, None),
        (Unit("u", "loaded", "activating", "auto-restart", "exit-code", 3, False), 1, "started again 3 times"),
        (Unit("u", "loaded", "activating", "start", "exit-code", 12, False), 1, "started again 12 times"),
        (Unit("u", "loaded", "failed", "failed", "exit-code", 0, False), 1, "has failed"),
        (Unit("u", "not-found", "inactive", "dead", "success", 0, False), 1, "no such unit"),
        (Unit("u", "loaded", "inactive", "dead", "success", 0, False), 1, None),
        (Unit("u", "loaded", "inactive", "dead", "success", 0, False), 60, "not started"),
        (Unit("u", "loaded", "inactive", "dead", "success", 0, True), 60, None),
    ],
)
def test_waiting_is_given_up_only_when_it_is_of_no_use(unit: Unit, waited_seconds: int, verdict: str | None) -> None:
    wait = Wait([], 900, started=time.monotonic() - waited_seconds, restarts_before={"u": min(unit.restarts, 9)})
    said = hopeless(unit, wait)
    assert (said is None) == (verdict is None)
    assert (verdict or "") in (said or "")


def test_a_silent_webui_is_restarted_once_and_engines_never(programs: Path, tmp_path: Path) -> None:
    program(programs, "systemctl", f'[ "$1" = restart ] && echo "$2" >>{tmp_path}/restarted; exit 0')
    told: list[str] = []
    with serving(Behaviour()) as early:
        targets = [engine(early), engine(9, "vllm-blue-1"), webui_target("http://127.0.0.1:18300")]
        with pytest.raises(NotReady):
            wait_ready(targets, "", 1.5, Paths(tmp_path), told.append, FAST, restart_webui_after_seconds=0.5)
    assert (tmp_path / "restarted").read_text() == "open-webui-blue.service\n"
    assert sum("restarted it, once" in line for line in told) == 1


def test_a_webui_with_data_is_not_restarted(programs: Path, tmp_path: Path) -> None:
    program(programs, "systemctl", f'[ "$1" = restart ] && echo "$2" >>{tmp_path}/restarted; exit 0')
    with pytest.raises(NotReady):
        wait_ready([webui_target("http://127.0.0.1:18300")], "", 1, Paths(tmp_path), lambda _: None, FAST)
    assert not (tmp_path / "restarted").exists()
