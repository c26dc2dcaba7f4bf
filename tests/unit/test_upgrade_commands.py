"""tandemctl upgrade, rollback and follow, and the guard's own program, on a host that is a folder."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tandem.domain.advance import Pacing, Rollout
from tandem.domain.layout import Swap
from tandem.domain.rollout import Past, Slot, State, Webui
from tandem.domain.upgrade_orders import fingerprint
from tandem.hostside import guard, guard_settings, lock, preparing, rollouts, state
from tandem.hostside.guard_settings import Settings
from tandem.hostside.paths import Paths
from tandem.hostside.sight import boot_seconds
from tandem.hostside.status import gather
from tandem.hostside.tandemctl import main
from tests.unit.serving import program

ROOT = Path(__file__).resolve().parents[2]
BLUE = Slot("a", "a" * 16, (18100, 18101), 100, (18100, 18101), "m", "r", "i", 42.0)
GREEN = Slot("b", "b" * 16, (18200, 18201), 0, (), "m", "r", "i")
IDLE = State("blue", {"blue": BLUE}, Webui("blue", 18300))
ROLLOUT = Rollout(Swap("blue", "green", (0, 1), "take-turns"), Pacing(), "comparing", id="r1", step=1)
UNDER_WAY = replace(IDLE, slots={"blue": BLUE, "green": GREEN}, rollout=ROLLOUT)
ORDER: dict[str, Any] = {
    "slot": "green", "cards": [0, 1], "release": "b", "digest": "b" * 16, "model": "m", "revision": "r", "image": "i",
    "strategy": "take-turns", "convert_at": "soak_end", "allow_gap": False, "comparison": {},
    "pacing": {"weights": [50, 100], "window_seconds": 1, "soak_seconds": 1, "most_extensions": 1},
}  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Release a serves; systemd can't be asked, and no guard is there."""
    program(tmp_path / "bin", "systemctl", "exit 1")
    program(tmp_path / "bin", "journalctl", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    paths = Paths(tmp_path / "host", {"tandem-router-engine": 1, "tandem-router-webui": 1})
    state.save(paths.state, IDLE)
    paths.containers.mkdir(parents=True)
    for card in (0, 1):
        (paths.containers / f"vllm-green-{card}.container").write_text("[Container]\n")
    return paths


def guard_said(paths: Paths, seconds_ago: float, **more: Any) -> None:
    paths.guard_sight.parent.mkdir(parents=True, exist_ok=True)
    paths.guard_sight.write_text(json.dumps({"boot_seconds": boot_seconds() - seconds_ago, **more}))


def begin(text: str, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    return main(["upgrade", "begin"], paths)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "null", json.dumps(ORDER)[:-1], " " * (1 << 16) + json.dumps(ORDER)],
    ids=["nothing", "no JSON", "a list", "null", "half of it", "too long"],
)
def test_what_is_no_order_is_no_usage(
    text: str, paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin(text, paths, monkeypatch) == 2
    assert "standard input is not the JSON object that upgrade sends" in capsys.readouterr().err
    assert state.load(paths.state) == IDLE
    assert not paths.history.exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"slot": "red"},
        {"slot": "blue"},
        {"cards": []},
        {"cards": "01"},
        {"cards": [0, -1]},
        {"cards": [True, 1]},
        {"cards": [0]},
        {"cards": [0, 2]},
        {"strategy": "at-once"},
        {"convert_at": "never"},
        {"strategy": "recreate"},
        {"strategy": "recreate", "allow_gap": "yes"},
        {"pacing": {}},
        {"pacing": {**ORDER["pacing"], "weights": [50]}},
        {"pacing": {**ORDER["pacing"], "weights": 100}},
        {"pacing": {**ORDER["pacing"], "colour": 1}},
        {"comparison": {"pairs": 1}},
        {"comparison": {"colour": 1}},
        {"digest": "a" * 16},
        {"model": "other"},
    ],
    ids=lambda changed: " ".join(f"{key}={value}" for key, value in changed.items())[:60],
)
def test_an_order_that_can_not_be_is_told_and_changes_nothing(
    changed: dict[str, Any], paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin(json.dumps({**ORDER, **changed}), paths, monkeypatch) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err
    assert state.load(paths.state) == IDLE
    assert not paths.history.exists()


@pytest.mark.parametrize("missing", sorted(ORDER))
def test_an_order_with_a_part_missing_is_told_and_changes_nothing(
    missing: str, paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order = {key: value for key, value in ORDER.items() if key != missing}
    order = {**order, "strategy": "recreate"} if missing == "allow_gap" else order
    assert begin(json.dumps(order), paths, monkeypatch) == 2
    assert missing in capsys.readouterr().err
    assert state.load(paths.state) == IDLE


def test_a_rollout_without_its_units_is_not_begun(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (paths.containers / "vllm-green-1.container").unlink()
    assert begin(json.dumps(ORDER), paths, monkeypatch) == 3
    assert "vllm-green-1.container is not there. Nothing was changed." in capsys.readouterr().err
    assert state.load(paths.state) == IDLE


def test_a_rollout_that_no_guard_takes_up_is_told(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rollouts, "ACCEPTED_SECONDS", 0.3)
    assert begin(json.dumps(ORDER), paths, monkeypatch) == 1
    error = capsys.readouterr().err
    assert "the rollout is on record, and tandem-guard has not taken it up" in error
    assert "systemctl start tandem-guard" in error
    assert state.load(paths.state).phase == "staging"
    # Another one's rollout in the guard's sight is not this one.
    state.save(paths.state, IDLE)
    guard_said(paths, 0, rollout="another")
    assert begin(json.dumps(ORDER), paths, monkeypatch) == 1


@pytest.mark.parametrize("words", [["move", "--weight", "50"], ["hold"], ["resume"], ["finish"]])
def test_what_is_not_under_way_is_not_steered(
    words: list[str], paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upgrade", *words], paths) == 3
    assert capsys.readouterr().err == "tandemctl: no rollout is under way. Nothing was changed.\n"
    assert not paths.history.exists()


@pytest.mark.parametrize(("seconds_ago", "silent"), [(None, True), (20.0, True), (2.0, False)])
def test_an_order_to_a_silent_guard_says_so(
    seconds_ago: float | None, silent: bool, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    state.save(paths.state, UNDER_WAY)
    if seconds_ago is not None:
        guard_said(paths, seconds_ago)
    assert main(["upgrade", "hold", "--why", "lunch"], paths) == 0
    assert ("tandem-guard is silent: nothing moves by itself." in capsys.readouterr().err) == silent
    assert (state.load(paths.state).held or "").startswith("lunch (by ")


def test_nothing_to_undo_says_what_would_bring_the_other_release_back(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past("r1", "finished", "", "2026-11-21T00:00:00+00:00", "a", "a" * 16, "r", "i", 42.0)
    for known, said in (
        (IDLE, "none was before"),
        (replace(IDLE, past=replace(past, outcome="undone", release="b")), "the rollout to b is undone, release a"),
        (replace(IDLE, past=past), "--data release=a brings it back without a download; its start takes about 42 s"),
        (replace(IDLE, past=replace(past, release="2026.10")), "-y --data 'release=\"2026.10\"' brings it back"),
    ):
        state.save(paths.state, known)
        assert main(["rollback"], paths) == 0
        assert said in capsys.readouterr().out
        assert state.load(paths.state) == known
    assert not paths.history.exists()


def test_a_release_serves_since_it_last_took_over_also_after_an_upgrade_that_was_undone(paths: Paths) -> None:
    green = replace(IDLE, serving="green", slots={"green": replace(GREEN, weight=100, asked=GREEN.engine_ports)})
    undone = replace(IDLE, past=Past("r3", "undone", "it was slow", "2026-11-21T00:00:00+00:00", "b", "b" * 16))
    for action, before, after in (
        ("adopt", State(), IDLE),
        ("finished", IDLE, green),
        ("finished", green, IDLE),
        ("begin", IDLE, UNDER_WAY),
        ("undone", UNDER_WAY, undone),
    ):
        with state.recorded(paths, action, "test", before, after):
            state.save(paths.state, after)
    results = [line for line in map(json.loads, paths.history.read_text().splitlines()) if line["event"] == "result"]
    assert gather(paths)["serving_since"] == results[2]["at"]
    with paths.history.open("a") as history:
        history.write('{"event": "result", "cut')
    assert gather(paths)["serving_since"] == results[2]["at"]
    paths.history.unlink()
    assert gather(paths)["serving_since"] is None


def test_following_ends_with_the_rollout(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    past = Past("r1", "undone", "it was slow", "2026-11-21T00:00:00+00:00", "b", "b" * 16)
    done = replace(IDLE, past=replace(past, outcome="finished"))
    held = replace(UNDER_WAY, rollout=replace(ROLLOUT, held="no verdict"))
    stuck = replace(UNDER_WAY, rollout=replace(ROLLOUT, phase="rolling_back", held="no progress"))
    for last, status, said in (
        (replace(IDLE, past=past), 1, "the rollout to b was undone: it was slow. The release before serves."),
        (done, 0, "finished: release a serves"),
        (held, 1, "held: no verdict. Go on with deploys/upgrade.py -y --data move=resume"),
        (stuck, 1, "rolling back: no progress. Mend that, then it goes on by itself."),
        (replace(IDLE, past=replace(past, id="another")), 1, "no rollout is under way."),
    ):
        state.save(paths.state, UNDER_WAY)
        guard_said(paths, 0, doing="3 pairs compared so far: inconclusive")
        ends = threading.Timer(0.5, state.save, (paths.state, last))
        ends.start()
        assert main(["follow"], paths) == status
        found = capsys.readouterr()
        assert "comparing: 3 pairs compared so far: inconclusive" in found.out
        assert said in found.out + found.err
    assert main(["follow"], paths) == 1


def test_the_guard_tells_systemd_that_it_lives_and_ends_when_told(paths: Paths, tmp_path: Path) -> None:
    """Also while the record can't be read, which it says once."""
    paths.state.write_text("{")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        line.settimeout(20)
        code = "import sys; from pathlib import Path; from tandem.hostside import guard; "
        code += "from tandem.hostside.paths import Paths; sys.exit(guard.main(Paths(Path(sys.argv[1]))))"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(paths.root)],
            env={**os.environ, "NOTIFY_SOCKET": address, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert [line.recv(64) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert error.count("state.json is damaged") == 1
    assert paths.state.read_text() == "{"


def test_a_guard_that_waits_for_the_lock_says_who_has_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "PATIENT_LOOKS", 2)
    monkeypatch.setattr(guard, "LOCK_SECONDS", 0.0)
    watch = guard.Guard(paths)
    try:
        with lock.lock(paths.lock, "somebody", "do something long"):
            watch.tick()
            assert capsys.readouterr().err == ""
            for _ in range(3):
                watch.tick()
        said = capsys.readouterr().err
        assert said.count("waits: somebody") == 1
        assert "to do something long changes the host" in said
        watch.tick()
        assert watch.memory.waited == 0
    finally:
        watch.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "3", "[" * 100_000, '{"hang_seconds": "x", "ready_seconds": [], "zzz": 1}']
)
def test_a_guard_without_usable_settings_says_so_once_and_takes_its_own(
    text: str, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.guard_settings.parent.mkdir(parents=True)
    paths.guard_settings.write_text(text)
    watch = guard.Guard(paths)
    try:
        said = capsys.readouterr().err
        assert (said.count(f"{paths.guard_settings}"), said.count("\n")) == (1, 1)
        watch.tick()
        assert watch.eyes.watcher.hang_seconds == 120.0
        assert "guard.json" not in capsys.readouterr().err
    finally:
        watch.close()


def test_settings_that_are_right_count_beside_those_that_can_not_be(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard_settings.load(paths) == Settings()
    assert capsys.readouterr().err == ""
    paths.guard_settings.parent.mkdir(parents=True)
    wrong: Any
    for wrong in ("120", None, True, -1, 0, float("inf"), float("nan"), {}):
        given = {"hang_seconds": wrong, "ready_seconds": 900, "notify": {"url": True}}
        paths.guard_settings.write_text(json.dumps(given))
        assert guard_settings.load(paths) == Settings(ready_seconds=900.0)
        assert "hang_seconds must be a number of seconds above 0" in capsys.readouterr().err


def prepare(order: dict[str, Any], paths: Paths, user: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("SUDO_USER", user)
    return main(["upgrade", "prepare", "--slot", "green", "--cards", "0,1", "--order", fingerprint(order)], paths)


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard takes up what is begun."""
    monkeypatch.setattr(rollouts, "_accepted", lambda *_: None)


@pytest.mark.usefixtures("accepted")
def test_of_two_who_prepare_another_order_at_once_only_the_first_begins(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = ORDER, {**ORDER, "digest": "c" * 16}
    assert prepare(mine, paths, "ann", monkeypatch) == 0
    assert prepare(mine, paths, "ann", monkeypatch) == 0
    assert prepare(other, paths, "bob", monkeypatch) == 3
    said = capsys.readouterr().err
    assert "another upgrade was prepared 0 s ago by ann, and is not begun yet. Nothing was changed." in said
    assert begin(json.dumps(other), paths, monkeypatch) == 3
    assert state.load(paths.state) == IDLE
    assert begin(json.dumps(mine), paths, monkeypatch) == 0
    assert state.load(paths.state).phase == "staging"
    assert {path.name for path in paths.state.parent.iterdir() if path.is_file()} == {"state.json", "history.jsonl"}


@pytest.mark.parametrize("changed", [{"digest": "c" * 16}, {"pacing": {**ORDER["pacing"], "soak_seconds": 2}}])
@pytest.mark.usefixtures("accepted")
def test_nobody_begins_what_another_one_prepared(
    changed: dict[str, Any], paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = ORDER, {**ORDER, **changed}
    assert prepare(mine, paths, "ann", monkeypatch) == 0
    monkeypatch.setattr(preparing, "HELD_SECONDS", 0.0)  # She took long, and is given up.
    assert prepare(other, paths, "bob", monkeypatch) == 0
    capsys.readouterr()
    assert begin(json.dumps(mine), paths, monkeypatch) == 3
    said = capsys.readouterr().err
    assert "is not what was prepared last: bob prepared another upgrade, 0 s ago. No rollout was begun." in said
    assert state.load(paths.state) == IDLE
    assert begin(json.dumps(other), paths, monkeypatch) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"order": 1}'])
@pytest.mark.usefixtures("accepted")
def test_a_note_of_what_was_prepared_that_says_nothing_stops_nobody(
    text: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.state.with_name("prepared.json").write_text(text)
    assert begin(json.dumps(ORDER), paths, monkeypatch) == 0


@pytest.mark.usefixtures("accepted")
def test_cases_that_somebody_else_staged_are_not_what_is_compared_with(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order, cases = {**ORDER, "cases": hashlib.sha256(b"mine").hexdigest()}, paths.root / "etc/tandem/cases.json"
    cases.parent.mkdir(parents=True)
    for write in (cases.unlink, lambda missing_ok: cases.write_text("others'")):
        write(missing_ok=True)
        assert begin(json.dumps(order), paths, monkeypatch) == 3
        assert f"{cases} holds other cases than this upgrade compares with" in capsys.readouterr().err
        assert state.load(paths.state) == IDLE
    cases.write_text("mine")
    assert begin(json.dumps(order), paths, monkeypatch) == 0
