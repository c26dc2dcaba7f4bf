"""A whole backup of a host that is a folder: real SQLite, real age, a real target; only Open WebUI is not started."""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.config.backup import BackupConfig
from tandem.domain.backup import Manifest
from tandem.domain.refused import Refused
from tandem.domain.rollout import Slot, State, Webui, adopt
from tandem.domain.webui_switch import CLOSED
from tandem.hostside import (
    ask_webui,
    backup,
    backup_archive,
    backup_arguments,
    backup_record,
    restore,
    restore_parts,
    state,
    webui_slots,
)
from tandem.hostside.backup import NotBackedUp
from tandem.hostside.backup_person import NotProven
from tandem.hostside.backup_staging import Staged
from tandem.hostside.paths import Paths
from tandem.hostside.restore import NotRestored, Taken
from tandem.hostside.traffic import NotTaken
from tests.unit.serving import program
from tests.unit.test_backup import Key, new_key

UNIT = """[Container]
Image=registry.example/webui@sha256:0
Environment="WEBUI_ADMIN_EMAIL=admin@chat.example"
Environment="WEBUI_URL=https://{name}"
"""


@pytest.fixture(scope="module")
def key() -> Key:
    if not shutil.which("age"):
        pytest.fail("age is not installed: make packages")
    return new_key()


def quiet(_line: str) -> None:
    pass


def made(root: Path, key: Key, **changes: Any) -> Paths:
    paths = Paths(root)
    data = root / "var/lib/tandem/webui/blue"
    (data / "uploads").mkdir(parents=True)
    (data / "uploads/a.pdf").write_bytes(b"a page")
    with closing(sqlite3.connect(data / "webui.db")) as there, there:
        there.execute('CREATE TABLE "user" (id TEXT)')
        there.execute("CREATE TABLE chat (id TEXT)")
        there.execute("CREATE TABLE config (key TEXT, value TEXT)")
        there.executemany('INSERT INTO "user" VALUES (?)', [("a",), ("b",)])
        there.executemany("INSERT INTO chat VALUES (?)", [("1",), ("2",), ("3",)])
    for name, text in (
        ("upstream_key", "0" * 64),
        ("webui_secret_key", "1" * 64),
        ("keys/default", "sk-one-secret-key"),
    ):
        path = paths.secrets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    paths.containers.mkdir(parents=True)
    unit = paths.containers / "open-webui-blue.container"
    unit.write_text(UNIT.format(name="old.example"))
    paths.state.with_name("manifest.json").write_text(json.dumps({"paths": ["/" + str(unit.relative_to(root))]}))
    (root / "run/lock").mkdir(parents=True)
    state.save(paths.state, adopt(State(), "blue", Slot("a", "0" * 16, (18100,), 100), 18300)[0])
    config = BackupConfig(recipients=(key.public,))
    settings = {
        "recipients": list(config.recipients),
        "directory": config.directory,
        "keep": config.keep.model_dump(),
        "target": [],
        "verify": False,
        "warn_after_hours": config.warn_after_hours,
    }
    (root / "etc/tandem/backup.json").write_text(json.dumps({**settings, **changes}))
    return paths


def kept(paths: Paths) -> list[str]:
    return sorted(path.name for path in (paths.root / "var/backups/tandem").glob("tandem-*.age"))


def work(paths: Paths) -> list[Path]:
    return list((paths.root / "var/lib/tandem/backup").iterdir())


def test_a_backup_holds_what_people_left_and_no_plain_copy_stays(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path / "host", key)
    said = backup.run(paths, "a test", quiet)
    assert "2 people, 3 chats" in said
    assert work(paths) == []
    (name,) = kept(paths)
    taken = tmp_path / "taken"
    taken.mkdir()
    archive = paths.root / "var/backups/tandem" / name
    manifest = backup_archive.unseal(archive, key.private, taken)
    assert (manifest.users, manifest.chats, manifest.release) == (2, 3, "a")
    assert {
        "webui/webui.db",
        "webui/uploads/a.pdf",
        "secrets/keys/default",
        "config/etc/tandem/backup.json",
        "config/etc/containers/systemd/open-webui-blue.container",
        "state/state.json",
    } <= manifest.files.keys()
    record = backup_record.look(paths)
    assert record["warnings"] == []
    assert record["record"]["sha256"] == backup_archive.checksum(archive)
    assert (archive.parent / "latest.sha256").read_text() == f"{record['record']['sha256']}  {name}\n"
    assert (archive.parent / "latest.tar.age").resolve() == archive
    assert "sk-one-secret-key" not in said + json.dumps(record)


@pytest.mark.parametrize("name", ["a\\b.pdf", "a\nb.pdf", "\udcff.pdf", "..a"])
def test_whatever_people_call_their_files_they_come_back(name: str, tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path / "host", key)
    (paths.root / "var/lib/tandem/webui/blue/uploads" / name).write_text("theirs")
    backup.run(paths, "a test", quiet)
    (tmp_path / "taken").mkdir()
    backup_archive.unseal(paths.root / "var/backups/tandem" / kept(paths)[0], key.private, tmp_path / "taken")
    assert (tmp_path / "taken/webui/uploads" / name).read_text() == "theirs"


def test_without_settings_there_is_no_backup_and_a_warning(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key)
    (tmp_path / "etc/tandem/backup.json").unlink()
    with pytest.raises(Refused, match="Give backup/recipients"):
        backup.run(paths, "a test", quiet)
    assert "there are no backups" in backup_record.look(paths)["warnings"][0]


def test_a_failed_one_is_on_record_and_the_good_one_before_stays(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key)
    backup.run(paths, "a test", quiet)
    (before,) = kept(paths)
    database = tmp_path / "var/lib/tandem/webui/blue/webui.db"
    database.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(NotBackedUp, match="older backups"):
        backup.run(paths, "a test", quiet)
    assert kept(paths) == [before]
    assert work(paths) == []
    seen = backup_record.look(paths)
    assert seen["record"]["where"].endswith(before)
    assert "the last backup failed" in seen["warnings"][0]


def test_a_target_gets_each_backup_and_a_failing_one_is_told(tmp_path: Path, key: Key) -> None:
    far = tmp_path / "far"
    far.mkdir()
    paths = made(tmp_path / "host", key, target=["cp", "{file}", str(far)])
    backup.run(paths, "a test", quiet)
    assert [path.name for path in far.iterdir()] == kept(paths)
    settings = paths.root / "etc/tandem/backup.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "target": ["false"]}))
    with pytest.raises(NotBackedUp, match="false did not copy it"):
        backup.run(paths, "a test", quiet)
    assert "did not copy it" in backup_record.look(paths)["warnings"][0]


def test_one_that_could_not_be_proven_takes_the_place_of_no_good_one(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = made(tmp_path, key)
    backup.run(paths, "a test", quiet)
    (good,) = kept(paths)

    def unproven(_paths: Paths, _copy: Staged) -> str:
        raise NotProven("it does not start")

    monkeypatch.setattr(backup, "prove", unproven)
    settings = tmp_path / "etc/tandem/backup.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "verify": True}))
    for _ in range(2):
        with pytest.raises(NotBackedUp, match=r"does not start.*is kept as .*unproven\.tar\.age until the next try"):
            backup.run(paths, "a test", quiet)
    assert kept(paths) == [good]
    archive = tmp_path / "var/backups/tandem/unproven.tar.age"
    (tmp_path / "taken").mkdir()
    assert backup_archive.unseal(archive, key.private, tmp_path / "taken").chats == 3
    assert (archive.parent / "latest.tar.age").resolve().name == good
    monkeypatch.setattr(backup, "prove", lambda _paths, _copy: "proven")
    backup.run(paths, "a test", quiet)
    assert not archive.exists()


def test_a_target_that_fails_every_day_does_not_fill_the_disk(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key, target=["false"], keep={"daily": 1, "weekly": 0, "monthly": 0})
    old = tmp_path / "var/backups/tandem/tandem-h-20200101T000000Z.tar.age"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    with pytest.raises(NotBackedUp, match="did not copy it"):
        backup.run(paths, "a test", quiet)
    assert not old.exists()
    assert len(kept(paths)) == 1


def test_the_new_one_stays_although_a_wrong_clock_says_that_others_are_newer(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key, keep={"daily": 1, "weekly": 0, "monthly": 0})
    later = tmp_path / "var/backups/tandem/tandem-h-20990101T000000Z.tar.age"
    later.parent.mkdir(parents=True)
    later.write_text("of a day when the clock was wrong")
    backup.run(paths, "a test", quiet)
    assert (later.parent / "latest.tar.age").exists()


def test_settings_that_cannot_be_read_are_a_warning(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key)
    (tmp_path / "etc/tandem/backup.json").write_text('{"recipients": [')
    seen = backup_record.look(paths)
    assert (seen["configured"], seen["backups"]) == (True, [])
    assert "was changed by hand" in seen["warnings"][0]


def test_what_was_killed_leaves_nothing_after_the_next(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key)
    (tmp_path / "var/lib/tandem/webui/blue/uploads/large").write_bytes(os.urandom(150 << 20))
    program = (
        "import sys; from pathlib import Path; from tandem.hostside import backup; "
        "from tandem.hostside.paths import Paths; backup.run(Paths(Path(sys.argv[1])), 'a test', print)"
    )
    for marker in ("var/lib/tandem/backup/staging-*/webui", "var/backups/tandem/.*.sealing"):
        running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], start_new_session=True)
        ends = time.monotonic() + 60
        while not list(tmp_path.glob(marker)) and time.monotonic() < ends:
            time.sleep(0.005)
            assert running.poll() is None
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert work(paths)
    backup.run(paths, "a test", quiet)
    assert work(paths) == []
    assert not list((tmp_path / "var/backups/tandem").glob(".*"))


def test_a_damaged_newest_backup_is_found_by_verify(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path, key)
    backup.run(paths, "a test", quiet)
    archive = tmp_path / "var/backups/tandem" / kept(paths)[0]
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(NotBackedUp, match="is damaged"):
        backup.verify(paths, "a test", quiet)


def test_settings_of_the_old_host_become_those_of_this_one(tmp_path: Path, key: Key) -> None:
    there, here = made(tmp_path / "there", key), made(tmp_path / "here", key)
    database = tmp_path / "there/var/lib/tandem/webui/blue/webui.db"
    with closing(sqlite3.connect(database)) as open_one, open_one:
        rows = [
            ("openai.api_keys", json.dumps(["0" * 64])),
            ("webui.url", '"https://old.example"'),
            ("x", '"old.example"'),
        ]
        open_one.executemany("INSERT INTO config VALUES (?, ?)", rows)
    (here.secrets / "upstream_key").write_text("9" * 64)
    taken = tmp_path / "taken"
    shutil.copytree(there.secrets, taken / "secrets")
    shutil.copytree(there.containers, taken / "config/etc/containers/systemd")
    restore_parts.adapt(database, taken, here.upstream_key, {"WEBUI_URL": "https://new.example"})
    with closing(sqlite3.connect(database)) as open_one:
        assert dict(open_one.execute("SELECT key, value FROM config")) == {
            "openai.api_keys": json.dumps(["9" * 64]),
            "webui.url": '"https://new.example"',
            "x": '"old.example"',
        }


def test_two_folders_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    restore_parts.exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one/file").read_text() == "other"
    with pytest.raises(OSError, match="No such file"):
        restore_parts.exchange(tmp_path / "one", tmp_path / "missing")


def test_a_restore_is_refused_before_anything_is_decrypted(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path / "host", key)
    backup.run(paths, "a test", quiet)
    archive = paths.root / "var/backups/tandem" / kept(paths)[0]
    with pytest.raises(Refused, match="2 people, 3 chats"):
        restore.restore(paths, archive, key.private, "a test", quiet)
    now = state.load(paths.state)
    state.save(paths.state, replace(now, webui=Webui("blue", CLOSED)))
    with pytest.raises(Refused, match="switched to another version"):
        restore.restore(paths, archive, key.private, "a test", quiet, replace=True)
    (paths.root / "var/lib/tandem/state.json").unlink()
    with pytest.raises(Refused, match="nothing serves yet"):
        restore.restore(paths, archive, key.private, "a test", quiet, replace=True)


def test_a_wrong_key_changes_nothing(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path / "host", key)
    backup.run(paths, "a test", quiet)
    archive = paths.root / "var/backups/tandem" / kept(paths)[0]
    with pytest.raises(Refused, match="not one of those"):
        restore.restore(paths, archive, new_key().private, "a test", quiet, replace=True)
    assert work(paths) == []


def taken(paths: Paths) -> Taken:
    """A backup's data, ready to take the place of what serves."""
    data = paths.root / "var/lib/tandem/backup/staging-1/webui"
    data.mkdir(parents=True)
    (data / "of-the-backup").touch()
    return Taken(data, data.parent, data.parent, Manifest("h", "now", "", "", "a", 1, 1, {}))


@pytest.mark.parametrize("flaw", ["stop", "secrets", "interrupt"])
def test_a_restore_that_fails_destroys_nothing_and_leaves_the_webui_started(
    flaw: str, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = made(tmp_path / "host", key)
    fails = 'case "$*" in "stop "*) [ -e tried ] || { touch tried; exit 1; };; esac' if flaw == "stop" else ""
    program(tmp_path / "bin", "systemctl", f'echo "$@" >>{tmp_path}/ordered; cd {tmp_path}; {fails}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    exchange = restore_parts.exchange

    def interrupted(one: Path, other: Path) -> None:
        exchange(one, other)
        monkeypatch.setattr(restore_parts, "exchange", exchange)
        raise KeyboardInterrupt

    def refused(_paths: Paths, _folder: Path) -> None:
        raise NotTaken("the gate serves other secrets")

    if flaw == "interrupt":
        monkeypatch.setattr(restore_parts, "exchange", interrupted)
    monkeypatch.setattr(restore_parts, "put_back", refused if flaw == "secrets" else lambda _paths, _folder: None)
    with pytest.raises((NotRestored, NotTaken, KeyboardInterrupt)):
        restore._switch(paths, "blue", state.load(paths.state), taken(paths), quiet)
    assert (tmp_path / "ordered").read_text().splitlines()[-1] == "start open-webui-blue.service"
    live = tmp_path / "host/var/lib/tandem/webui/blue"
    assert (live / "uploads/a.pdf").read_bytes() == b"a page"
    assert not (live / "of-the-backup").exists()


@pytest.mark.parametrize(("chats", "enough"), [(2, True), (3, True), (4, False)])
def test_a_chat_that_was_begun_right_after_a_restore_does_not_undo_it(
    chats: int, enough: bool, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = made(tmp_path / "host", key)
    (paths.secrets / "webui_admin_password").write_text("a-long-password")
    monkeypatch.setattr(ask_webui, "look", lambda _order: {"seconds": 1.0, "signed_in": True, "problem": ""})
    of_backup = Manifest("h", "now", "", "", "a", 2, chats, {})
    if enough:
        assert restore._serves(paths, state.load(paths.state), of_backup) == "the administrator signed in"
        return
    with pytest.raises(NotRestored, match="3 chats after its start"):
        restore._serves(paths, state.load(paths.state), of_backup)


def test_a_restore_waits_for_the_end_of_a_webui_switch(tmp_path: Path, key: Key) -> None:
    paths = made(tmp_path / "host", key)
    archive = tmp_path / "x.tar.age"
    with (
        webui_slots.only_one(paths, "a test", "switch"),
        pytest.raises(Refused, match="being switched to another version"),
    ):
        restore.restore(paths, archive, key.private, "a test", quiet, replace=True)
    state.save(paths.state, replace(state.load(paths.state), webui=Webui("blue", CLOSED)))
    with pytest.raises(Refused, match="being switched to another version"):
        restore.restore(paths, archive, key.private, "a test", quiet, replace=True)


def test_the_command_line_is_read_as_the_deploys_write_it() -> None:
    top = argparse.ArgumentParser()

    def command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(name, help=text)
        return made

    backup_arguments.add(top.add_subparsers(required=True), command)
    assert top.parse_args(["restore", "--look"]).look
    assert top.parse_args(["restore", "--new-key", "0f" * 8]).new_key == "0f" * 8
    given = top.parse_args(["restore", "--from", "/a", "--remove", "--replace", "--kept-key", "0f" * 8])
    assert (given.archive, given.remove, given.replace, given.scratch, given.kept_key) == (
        "/a",
        True,
        True,
        False,
        "0f" * 8,
    )
    assert top.parse_args(["backup", "list", "--json"]).json
    for wrong in (["restore"], ["restore", "--look", "--from", "/a"], ["restore", "--new-key", "../x"]):
        with pytest.raises(SystemExit):
            top.parse_args(wrong)
