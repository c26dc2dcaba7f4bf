"""The journal in real runs of pyinfra against this machine, in a temporary folder; each apply is done twice."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import gevent  # type: ignore[import-untyped]
import pytest
from gevent.pool import Pool  # type: ignore[import-untyped]

from tandem import interruption
from tandem.reboot import quiet_paramiko
from tests.unit import real_pyinfra
from tests.unit.real_pyinfra import Ended

APPLY = ("inventory.py", "deploy.py", "-y")
OPERATIONS = """
files.directory(name="Make a folder", path=f"{base}/made")
files.line(name="Write a line", path=f"{base}/made/lines", line="hello")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_deploy(tmp_path, OPERATIONS)
    write_hosts(tmp_path, "@local")
    return tmp_path


def write_hosts(folder: Path, *hosts: str) -> None:
    (folder / "inventory.py").write_text(
        f"from tandem import connection\nconnection.watch()\nhosts = {list(hosts)!r}\n"
    )


def write_deploy(folder: Path, operations: str) -> None:
    (folder / "deploy.py").write_text(
        "from pyinfra import host, state\nfrom pyinfra.api import FactBase, OperationError, operation\n"
        "from pyinfra.api.exceptions import NestedOperationError\n"
        "from pyinfra.operations import files, python, server\nfrom tandem import journal\n"
        f"journal.start('install')\nbase = {str(folder)!r} + '/' + host.name.strip('@').replace('/', '-')\n"
        f"{operations}"
    )


def apply(folder: Path, *arguments: str) -> Ended:
    return real_pyinfra.run(folder, *(arguments or APPLY))


def results(folder: Path) -> list[str]:
    return [event["result"] for event in real_pyinfra.records(folder)[-1] if event["event"] == "operation"]


def test_the_first_run_changes_and_the_second_does_not(folder: Path) -> None:
    (folder / "local").mkdir()
    first = apply(folder)
    assert first.status == 0, first.stderr
    assert re.match(r"tandem install: @local: 2 changed, 0 unchanged, 4 commands, \d+\.\d s\n", first.last_words)
    assert "  changed: Make a folder\n  changed: Write a line\n  record: runs/" in first.last_words
    assert results(folder) == ["changed", "changed"]

    second = apply(folder)
    assert second.status == 0
    assert re.match(r"tandem install: @local: 0 changed, 2 unchanged, 2 commands, ", second.last_words)
    assert "changed: " not in second.last_words.partition("\n")[2]
    events = real_pyinfra.records(folder)[-1]
    assert results(folder) == ["unchanged", "unchanged"]
    assert [event["event"] for event in events] == [
        "start", "operation_start", "operation", "operation_start", "operation", "disconnect", "end"
    ]  # fmt: skip
    assert events[0]["hosts"] == ["@local"]
    assert events[0]["versions"]["pyinfra"].startswith("3.10.")
    assert {key: events[-1][key] for key in ("outcome", "commands", "transfers", "unchanged", "changed", "failed")} == {
        "outcome": "done", "commands": 2, "transfers": 0, "unchanged": 2, "changed": [], "failed": []
    }  # fmt: skip


def test_an_operation_reports_its_own_changes(folder: Path) -> None:
    write_deploy(
        folder,
        "@operation()\ndef poke():\n    journal.note(host, 'a: mode 0644 -> 0600')\n    yield 'true'\n"
        "@operation()\ndef rest():\n    return\n    yield\n"
        "poke(name='Poke')\nrest(name='Rest')\n",
    )
    for arguments in (APPLY, ("inventory.py", "deploy.py", "--dry"), APPLY):
        ended = apply(folder, *arguments)
        assert ended.status == 0
        noted = [event["sentence"] for event in real_pyinfra.records(folder)[-1] if event["event"] == "note"]
        if "--dry" in arguments:
            assert noted == []
            continue
        assert noted == ["a: mode 0644 -> 0600"]
        assert "1 changed, 1 unchanged" in ended.last_words
        assert "  changed: Poke\n    a: mode 0644 -> 0600\n" in ended.last_words


def test_the_only_host_failing_still_gets_a_summary_without_secrets(folder: Path) -> None:
    write_deploy(
        folder,
        "journal.mask.add('hunter22')\nserver.shell(name='Fine', commands=['true'])\n"
        "server.shell(name='Start the unit', commands=['true', 'seq 1 39; sleep 0.5; echo password hunter22 >&2;"
        " sleep 0.5; echo 40; exit 3'], _stdin='hunter22')\nserver.shell(name='Later', commands=['true'])\n",
    )
    for _ in range(2):
        ended = apply(folder)
        assert ended.status == 1
        assert "failed: 1 changed, 0 unchanged, 1 failed, 1 not reached, 3 commands" in ended.last_words
        shown = [line for line in ended.last_words.splitlines() if line.startswith("    | ")]
        assert "  failed: Start the unit\n    | " in ended.last_words
        assert len(shown) == 25
        assert shown[-1] == "    | 40"
        assert "    | password ***" in shown
        assert "run the same command again: what is done is left alone" in ended.last_words
        assert "hunter22" not in ended.stderr + ended.stdout
        record = max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        assert f"record: runs/{record.name}" in ended.last_words
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
        assert "hunter22" not in record.read_text()
        end = real_pyinfra.records(folder)[-1][-1]
        assert (end["outcome"], end["failed"]) == ("failed", [{"host": "@local", "operation": "Start the unit"}])


@pytest.mark.parametrize("arguments", [("-y",), ("-y", "--no-wait"), ("-y", "--serial")])
def test_one_of_several_hosts_failing_fails_the_run_and_is_named(folder: Path, arguments: tuple[str, ...]) -> None:
    with real_pyinfra.ssh_server() as server:
        real_pyinfra.write_inventory(
            folder, pin=server.host_key, key=server.user_key, port=server.port, more=["@local"]
        )
        write_deploy(
            folder,
            "server.shell(name='All', commands=['true'])\n"
            "server.shell(name='Some', commands=['false' if host.name == 'gpu1' else 'true'])\n"
            "server.shell(name='Last', commands=['true'])\n",
        )
        for _ in range(2):
            ended = apply(folder, "inventory.py", "deploy.py", *arguments)
            assert ended.status == 1, ended.stderr
            assert "tandem install: gpu1: failed: 1 changed, 0 unchanged, 1 failed, 1 not reached" in ended.stderr
            assert "tandem install: @local: 3 changed, 0 unchanged, 3 commands" in ended.stderr
            assert "  failed: gpu1: Some\n" in ended.last_words
            assert len(results(folder)) == 5


def test_dry_run_and_unconfirmed_run_say_that_nothing_was_changed(folder: Path) -> None:
    for _ in range(2):
        ended = apply(folder, "inventory.py", "deploy.py", "--dry")
        assert ended.status == 0
        assert "@local: planned only, nothing was changed: 2 would change, 0 would not" in ended.last_words
        assert real_pyinfra.records(folder)[-1][-1]["outcome"] == "planned"
        ended = apply(folder, "inventory.py", "deploy.py")
        assert ended.status == 1
        assert "@local: not confirmed, nothing was changed" in ended.last_words
        assert "with -y" in ended.last_words
    assert not (folder / "local").exists()


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("raise OperationError('releases: unknown key')\n", "releases: unknown key"),
        ("1 / 0\n", "failed: An exception occurred in: deploy.py"),
        ("class Odd(FactBase):\n    command = 'echo odd; exit 9'\nhost.get_fact(Odd)\n", "    | odd"),
    ],
)
@pytest.mark.parametrize("flag", ["-y", "--dry"])
def test_a_failure_while_preparing_says_that_nothing_was_changed(
    folder: Path, operations: str, expected: str, flag: str
) -> None:
    write_deploy(folder, operations + OPERATIONS)
    for _ in range(2):
        ended = apply(folder, "inventory.py", "deploy.py", flag)
        assert ended.status == 1
        assert "stopped while preparing, nothing was changed" in ended.last_words
        assert expected in ended.last_words
        assert not (folder / "local").exists()


def test_an_operation_that_raises_is_the_one_that_failed(folder: Path) -> None:
    write_deploy(
        folder,
        "@operation()\ndef refuse():\n    raise OperationError('port 443 is taken by apache2')\n    yield\n"
        "server.shell(name='First', commands=['true'])\nrefuse(name='Refuse')\n",
    )
    for _ in range(2):
        ended = apply(folder)
        assert ended.status == 1
        assert "failed: 1 changed, 0 unchanged, 1 failed" in ended.last_words
        assert "  failed: Refuse\n    | " in ended.last_words
        assert "port 443 is taken by apache2" in ended.last_words


def test_a_failure_that_was_caught_or_is_ignored_fails_nothing(folder: Path) -> None:
    write_deploy(
        folder,
        "def rescue():\n    try:\n        server.shell(name='Try', commands=['false'])\n"
        "    except NestedOperationError:\n        server.shell(name='Undo', commands=['true'])\n"
        "python.call(name='Attempt', function=rescue)\n"
        "server.shell(name='Optional', commands=['false'], _ignore_errors=True)\n",
    )
    for _ in range(2):
        ended = apply(folder)
        assert ended.status == 0, ended.stderr
        assert "tandem install: @local: 2 changed, 0 unchanged, 1 failed but not needed" in ended.last_words
        assert results(folder) == ["failed", "changed", "changed", "ignored"]


def start_sleeping(folder: Path, *, ready: str) -> subprocess.Popen[str]:
    write_deploy(folder, "server.shell(name='First', commands=['true'])\n"
                         f"server.shell(name='Long work', commands=['echo $$ > {folder}/pid; exec sleep 60'])\n"
                         "server.shell(name='Later', commands=['true'])\n")  # fmt: skip
    process = subprocess.Popen(
        real_pyinfra.command(*APPLY), cwd=folder, env=real_pyinfra.environment(), stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (folder / ready).exists() or not (folder / ready).read_text():
        assert time.monotonic() < deadline, "the run did not get to its long operation"
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_ends_at_once_non_zero_and_says_where(
    folder: Path, number: signal.Signals, status: int
) -> None:
    process = start_sleeping(folder, ready="pid")
    process.send_signal(number)
    began = time.monotonic()
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert time.monotonic() - began < 10
    assert process.returncode == status
    assert "@local: interrupted: 1 changed, 0 unchanged, 1 cut short, 1 not reached" in stderr
    assert "  cut short: Long work; what it began on the host may still be running there" in stderr
    assert "run the same command again" in stderr
    end = real_pyinfra.records(folder)[-1][-1]
    assert (end["outcome"], end["signal"]) == ("interrupted", number.name)


def test_workers_end_first_also_when_the_signal_meets_the_main_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    worker = pool.spawn(gevent.sleep, 60)
    gevent.sleep(0)
    monkeypatch.setattr(interruption, "current_state", lambda: SimpleNamespace(pool=pool))
    monkeypatch.setattr(interruption.interruption, "signal_number", None)
    # What ends the process also silences paramiko: the other tests need it as it was.
    with quiet_paramiko(), pytest.raises(SystemExit) as ended:
        interruption._end_run(signal.SIGHUP, None)
    assert ended.value.code == 129
    assert pool.join(timeout=5)
    assert worker.dead


def test_a_killed_run_leaves_a_record_that_shows_where_it_was(folder: Path) -> None:
    process = start_sleeping(folder, ready="pid")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    last = real_pyinfra.records(folder)[-1][-1]
    assert (last["event"], last["operation"]) == ("operation_start", "Long work")


def test_json_results_stay_alone_on_standard_output(folder: Path) -> None:
    for _ in range(2):
        ended = apply(folder, *APPLY, "--json")
        assert ended.status == 0
        assert ended.stdout.lstrip().startswith("{")
        assert "tandem" not in ended.stdout
        assert ended.last_words.startswith("tandem install: @local: ")
