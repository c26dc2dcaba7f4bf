"""People are told by a real command or a real server; whoever tells never waits and never fails."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tandem.config.notify import NotifyConfig
from tandem.config.secrets import SecretSource
from tandem.domain.notice import EVENTS, MOST_CHARACTERS, Notice, is_url, payload
from tandem.hostside import backup_record, notify, x509
from tandem.hostside.paths import Paths
from tandem.hostside.reminder import AGAIN_SECONDS, Reminder
from tandem.render.notify import notify_settings
from tests.unit.serving import Behaviour, program, serving, unit_block
from tests.unit.test_certificates import signed

SENTENCE = "the rollout to 2026.12 is held: no verdict after 600 s"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.secrets.mkdir(parents=True)
    return paths


def told_by(paths: Paths, asked: dict[str, Any] | None) -> None:
    paths.guard_settings.write_text(json.dumps({"hang_seconds": 120, "notify": asked}))


def script(folder: Path, text: str) -> list[str]:
    program(folder, "teller", text)
    return [str(folder / "teller")]


def eventually(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_command_reads_one_json_object_without_secrets(paths: Paths, tmp_path: Path) -> None:
    key = "k" * 64
    paths.upstream_key.write_text(key)
    told_by(
        paths,
        {"command": [*script(tmp_path, f'cat >{tmp_path}/got.new; mv {tmp_path}/got.new {tmp_path}/"$1"'), "got"]},
    )
    notify.tell("hold", f"{SENTENCE}: Bearer {key}", paths, release="2026.12")
    eventually((tmp_path / "got").exists)
    got = json.loads((tmp_path / "got").read_text())
    assert got.pop("at").endswith("+00:00")
    assert got == {
        "host": socket.gethostname(),
        "event": "hold",
        "sentence": f"{SENTENCE}: Bearer [upstream_key]",
        "release": "2026.12",
    }


def test_the_release_is_the_serving_one_unless_it_is_given(paths: Paths, tmp_path: Path) -> None:
    told_by(paths, {"command": script(tmp_path, f"cat >{tmp_path}/got.new; mv {tmp_path}/got.new {tmp_path}/got")})
    slot = {"release": "2026.11", "digest": "d" * 16, "engine_ports": [18100], "weight": 100}
    paths.state.parent.mkdir(parents=True)
    record = {"schema": 1, "state": "idle", "serving": "blue", "slots": {"blue": slot}, "held": None}
    paths.state.write_text(json.dumps({**record, "webui": {"slot": "blue", "port": 18300}}))
    notify.tell("drift", "the driver is another", paths)
    eventually((tmp_path / "got").exists)
    assert json.loads((tmp_path / "got").read_text())["release"] == "2026.11"


def test_an_address_gets_the_notice_and_stands_in_no_command_line(paths: Paths, tmp_path: Path) -> None:
    behaviour = Behaviour(delay_seconds=1.0)
    with serving(behaviour) as port:
        url = f"http://127.0.0.1:{port}/hooks/very-secret?x=1"
        (paths.secrets / "notify_url").write_text(f"{url}\n")
        told_by(paths, {"url": True})
        started = time.monotonic()
        notify.tell("rollback", SENTENCE, paths, release="2026.12")
        assert time.monotonic() - started < 0.5
        lines: set[str] = set()
        deadline = time.monotonic() + 10
        while not behaviour.asked and time.monotonic() < deadline:
            lines |= set(_command_lines())
        assert any("tandem.hostside.notify" in line for line in lines)
        assert not any("very-secret" in line for line in lines)
        asked = behaviour.asked[0]
    assert asked["path"] == "/hooks/very-secret?x=1"
    assert json.loads(asked["body"])["event"] == "rollback"


def _command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found.append((path / "cmdline").read_text() + (path / "environ").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("refusals", "status", "asked", "why"), [(2, 200, 3, ""), (0, 404, 1, "it answers 404")])
def test_a_post_is_tried_again_where_that_may_help(refusals: int, status: int, asked: int, why: str) -> None:
    behaviour = Behaviour(status, refusals=refusals)
    with serving(behaviour) as port:
        assert notify.post(f"http://127.0.0.1:{port}/x", "{}") == why
    assert len(behaviour.asked) == asked


def test_a_post_to_nobody_ends_and_says_nothing_of_the_address() -> None:
    started = time.monotonic()
    assert notify.post("http://127.0.0.1:9/very-secret", "{}") == "no answer (ConnectionRefusedError)"
    assert time.monotonic() - started < 10
    with serving(Behaviour(delay_seconds=30)) as port:
        assert notify.post(f"http://127.0.0.1:{port}/very-secret", "{}", 1.5) == "no answer (TimeoutError)"


@pytest.mark.parametrize(
    "settings",
    [
        None,
        "{",
        "[]",
        '{"notify": null}',
        '{"notify": {"command": ["/nonexistent/teller"]}}',
        '{"notify": {"url": true}}',
        '{"notify": 3}',
    ],
)
def test_telling_never_fails(paths: Paths, settings: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    if settings is not None:
        paths.guard_settings.write_text(settings)
    notify.tell("finish", SENTENCE, paths)
    notify.tell("no such event", SENTENCE, paths)
    if settings and "command" in settings:
        assert "nobody was told of no such event: ValueError" in capfd.readouterr().err


def test_a_command_that_hangs_is_ended_with_its_children_and_nobody_waits(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notify, "LIMIT_SECONDS", 1)
    pids = tmp_path / "pids"
    told_by(paths, {"command": script(tmp_path, f"sleep 60 & echo $! $$ >{pids}.new; mv {pids}.new {pids}; wait")})
    started = time.monotonic()
    notify.tell("hold", SENTENCE, paths)
    assert time.monotonic() - started < 0.5
    eventually(pids.exists)
    try:
        eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids.read_text().split()), 5)
    finally:
        for pid in pids.read_text().split():
            if Path(f"/proc/{pid}/exe").exists():
                os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: "telling of hold failed: what notify names took longer than 1 s" in capfd.readouterr().err)


def test_a_long_sentence_to_a_command_that_never_reads_blocks_nobody(paths: Paths, tmp_path: Path) -> None:
    told_by(paths, {"command": script(tmp_path, "exec sleep 2")})
    started = time.monotonic()
    notify.tell("hold", "x" * 1_000_000, paths)
    assert time.monotonic() - started < 1


def test_a_notice_is_short_and_of_a_known_event() -> None:
    long = json.loads(payload(Notice("h", "hold", "é" * 100_000, "", "now")))
    assert len(long["sentence"]) == MOST_CHARACTERS
    assert len(payload(Notice("h", "hold", "\U0001f600" * 100_000, "", "now"))) < 65536
    for event in EVENTS:
        assert json.loads(payload(Notice("h", event, SENTENCE, "r", "now")))["event"] == event
    with pytest.raises(ValueError, match="none of hold"):
        payload(Notice("h", "other", SENTENCE, "r", "now"))


def test_only_an_address_that_can_be_posted_to_is_one() -> None:
    good = ["https://hooks.example/services/T0/B0?x=%20", "http://10.0.0.2:8080", "https://[::1]:8443/x"]
    bad = ["", "ftp://x/y", "https://", "https:///x", "https://user:pw@host/", "https://h/a b", "https://h/\nX: y",
           "https://h:0/", "https://h:99999/", "https://h/" + "x" * 2000, "hooks.example/x"]  # fmt: skip
    assert [is_url(url) for url in good] == [True] * len(good)
    assert [is_url(url) for url in bad] == [False] * len(bad)


def test_exactly_one_way_is_declared() -> None:
    command = NotifyConfig(command=("/usr/local/bin/tell", "--loud"))
    assert notify_settings(command) == {"command": ["/usr/local/bin/tell", "--loud"]}
    assert notify_settings(NotifyConfig(url=SecretSource(env="HOOK"))) == {"url": True}
    assert notify_settings(None) is None
    for wrong, said in (
        ({}, "has none of them; give exactly one"),
        ({"command": ["/bin/x"], "url": {"env": "A"}}, "has command and url; give exactly one"),
        ({"command": ["tell"]}, "'tell' is not an absolute path"),
        ({"command": []}, "at least 1"),
        ({"url": "https://hooks.example/x"}, "SecretSource"),
    ):
        with pytest.raises(ValidationError, match=said) as error:
            NotifyConfig.model_validate(wrong)
        assert "hooks.example" not in str(error.value)


@pytest.fixture
def reminded(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[str, str]]]:
    """What was told so far, as (event, sentence); systemctl says what the file ``units`` holds."""
    told_by(paths, {"command": script(tmp_path, f'line=$(cat); echo "$line" >>{tmp_path}/told')})
    program(tmp_path / "bin", "systemctl", f"cat {tmp_path}/units")
    (tmp_path / "units").write_text(unit_block("tandem-backup", "inactive", "dead"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    paths.driver_mismatch.parent.mkdir(parents=True)

    def told() -> list[tuple[str, str]]:
        text = (tmp_path / "told").read_text() if (tmp_path / "told").exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line]
        return sorted((one["event"], one["sentence"]) for one in found)

    return told


def test_what_lasts_is_told_when_it_begins_and_once_a_day(
    reminded: Callable[[], list[tuple[str, str]]], paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "clock_gettime", lambda _: now[0])
    reminder = Reminder(paths)
    reminder.look()
    paths.driver_mismatch.write_text("driver 590 is loaded and 595 is installed\n")
    reminder.look()
    time.sleep(0.3)
    assert reminded() == []
    drift = ("drift", "driver 590 is loaded and 595 is installed")
    now[0] += 61
    reminder.look()
    eventually(lambda: reminded() == [drift])
    (tmp_path / "units").write_text(unit_block("tandem-backup", "failed", "failed"))
    now[0] += 61
    reminder.look()
    backup = ("failed-backup", "the last backup failed: `journalctl -u tandem-backup` says why")
    eventually(lambda: reminded() == [drift, backup])
    now[0] += 61
    Reminder(paths).look()
    time.sleep(0.3)
    assert reminded() == [drift, backup]
    now[0] += AGAIN_SECONDS
    Reminder(paths).look()
    eventually(lambda: reminded() == [drift, drift, backup, backup])
    assert stat.S_IMODE((tmp_path / "run/tandem/told.json").stat().st_mode) == 0o600


def configured(root: Path) -> None:
    keep = {"daily": 7, "weekly": 4, "monthly": 6}
    settings = {"recipients": [], "directory": "/b", "keep": keep, "target": [], "verify": True, "warn_after_hours": 24}
    (root / "etc/tandem/backup.json").write_text(json.dumps(settings))
    (root / "var/lib/tandem").mkdir(parents=True)


def test_a_backup_that_grows_older_is_told_once_a_day(
    reminded: Callable[[], list[tuple[str, str]]], paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(tmp_path)
    now = [1000.0]
    boot = backup_record.moment().boot_id
    backup_record.record_file(paths).write_text(json.dumps({"boot_id": boot, "boot_seconds": -30 * 3600.0}))
    monkeypatch.setattr(time, "clock_gettime", lambda _: now[0])
    for _ in range(3):
        Reminder(paths).look()
        now[0] += 3600
    time.sleep(0.3)
    eventually(lambda: len(reminded()) == 1)
    assert reminded()[0][1].startswith("the last backup is 30 hours old")


def test_one_backup_that_failed_is_told_once(
    reminded: Callable[[], list[tuple[str, str]]], paths: Paths, tmp_path: Path
) -> None:
    configured(tmp_path)
    (tmp_path / "units").write_text(unit_block("tandem-backup", "failed", "failed"))
    boot = backup_record.moment()
    last = {"boot_id": boot.boot_id, "boot_seconds": boot.boot_seconds, "failed": "no room"}
    backup_record.record_file(paths).write_text(json.dumps(last))
    Reminder(paths).look()
    time.sleep(0.3)
    eventually(lambda: reminded() == [("failed-backup", "the last backup failed: no room")])


def test_settings_of_backups_that_cannot_be_read_stop_no_look(
    reminded: Callable[[], list[tuple[str, str]]], paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "etc/tandem/backup.json").write_text("[")
    Reminder(paths).look()
    eventually(lambda: len(reminded()) == 1)
    assert "backups can't be looked at" in reminded()[0][1]


def test_what_ended_and_began_again_is_told_again(
    reminded: Callable[[], list[tuple[str, str]]], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "clock_gettime", lambda _: now[0])
    reminder = Reminder(paths)
    for text in ("the holds are gone\n", None, "the holds are gone\n"):
        paths.driver_mismatch.write_text(text) if text else paths.driver_mismatch.unlink()
        now[0] += 61
        reminder.look()
    eventually(lambda: reminded() == [("drift", "the holds are gone")] * 2)


@pytest.mark.parametrize(("left", "tells"), [(13, True), (20, False)])
def test_a_certificate_that_ends_soon_is_told(
    left: int, tells: bool, reminded: Callable[[], list[tuple[str, str]]], paths: Paths
) -> None:
    key = x509.new_key()
    (paths.secrets / "edge").mkdir()
    chain = signed(key, (key, ""), ["ai.example"], begun_days_ago=80, days_left=left)
    (paths.secrets / "edge/tls.pem").write_text(key + chain)
    Reminder(paths).look()
    if tells:
        eventually(reminded)
        assert reminded()[0][0] == "expiring-certificate"
        assert reminded()[0][1].startswith("the certificate for ai.example is valid until")
    else:
        time.sleep(0.3)
        assert reminded() == []
