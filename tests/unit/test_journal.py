from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.runrecord import Record
from tandem.summary import Ending, Failure, Outcome, Tally, hide, outcome, public_argv, summary


def ending(
    *, planning: bool = False, interrupted: bool = False, error: str | None = None, stage: str = "end"
) -> Ending:
    return Ending(
        prepared_only=stage == "prepare",
        finished=stage == "end",
        planning=planning,
        interrupted=interrupted,
        error=error,
    )


@pytest.mark.parametrize(
    ("how", "tally", "expected"),
    [
        (ending(), Tally("gpu1"), "done"),
        (ending(stage="execute"), Tally("gpu1"), "failed"),
        (ending(), Tally("gpu1", failures=[Failure("Start", [])]), "failed"),
        (ending(), Tally("gpu1", host_failed=True), "failed"),
        (ending(stage="prepare", planning=True), Tally("gpu1"), "planned"),
        (ending(stage="prepare"), Tally("gpu1"), "not started"),
        (ending(stage="prepare", planning=True, error="bad config"), Tally("gpu1"), "failed"),
        (ending(stage="prepare", error="bad config"), Tally("gpu1"), "failed"),
        (ending(stage="execute", interrupted=True), Tally("gpu1", host_failed=True), "interrupted"),
    ],
)
def test_a_run_is_done_only_when_it_reached_its_results(how: Ending, tally: Tally, expected: Outcome) -> None:
    assert outcome(how, [tally]) == expected


def test_the_summary_of_a_good_run_fits_a_line_per_change() -> None:
    tally = Tally("gpu1", changed=["Engine | Write files"], unchanged=9, commands=14)
    tally.notes["Engine | Write files"] = ["/etc/x: mode 0644 -> 0640"]
    assert summary("install", "done", [tally], ending(), 3.94, "runs/r.jsonl").splitlines() == [
        "tandem install: gpu1: 1 changed, 9 unchanged, 14 commands, 3.9 s",
        "  changed: Engine | Write files",
        "    /etc/x: mode 0644 -> 0640",
        "  record: runs/r.jsonl",
    ]


def test_the_summary_of_a_failure_shows_the_last_lines_and_what_to_do() -> None:
    tally = Tally("gpu1", failures=[Failure("Start engine", ["boom"])], not_reached=2, commands=1)
    assert summary("install", "failed", [tally], ending(stage="execute"), 1, "runs/r.jsonl").splitlines() == [
        "tandem install: gpu1: failed: 0 changed, 0 unchanged, 1 failed, 2 not reached, 1 command, 1.0 s",
        "  failed: Start engine",
        "    | boom",
        "  next: mend the cause, then run the same command again: what is done is left alone",
        "  record: runs/r.jsonl",
    ]


def test_several_hosts_have_a_line_each_and_only_the_failed_one_says_failed() -> None:
    tallies = [Tally("gpu1", changed=["A"]), Tally("gpu2", failures=[Failure("A", [])], host_failed=True)]
    text = summary("install", "failed", tallies, ending(), 1, "r")
    assert "gpu1: 1 changed, 0 unchanged, 0 commands" in text
    assert "gpu2: failed: 0 changed" in text
    assert "  changed: gpu1: A" in text
    assert "  failed: gpu2: A" in text


def test_a_plan_says_that_nothing_was_changed() -> None:
    tally = Tally("gpu1", planned_changes=2, planned_unchanged=5, commands=7)
    text = summary("install", "planned", [tally], ending(stage="prepare", planning=True), 1, "r")
    assert "gpu1: planned only, nothing was changed: 2 would change, 5 would not, 7 commands" in text


def test_the_command_line_is_kept_without_what_could_be_a_secret() -> None:
    shown = public_argv(
        ["pyinfra", "inv.py", "-y", "deploy.py", "--data", "release=2026.11", "--data", "api_key=hunter22",
         "--data=token=hunter22", "--ssh-password", "hunter22", "--key-password=hunter22", "--limit", "gpu1"]
    )  # fmt: skip
    assert "hunter22" not in " ".join(shown)
    assert shown[:6] == ["pyinfra", "inv.py", "-y", "deploy.py", "--data", "release=2026.11"]
    assert shown[7:] == [
        "api_key=***", "--data=token=***", "--ssh-password", "***", "--key-password=***", "--limit", "gpu1"
    ]  # fmt: skip


def test_a_secret_is_hidden_with_each_of_its_lines() -> None:
    assert hide("x one y two", {"one\ntwo", ""}) == "x *** y ***"
    assert hide("abcdef", {"abc", "abcdef"}) == "***"


def test_a_record_is_private_complete_per_line_and_without_secrets(tmp_path: Path) -> None:
    os.umask(0o022)
    (tmp_path / "runs").mkdir(mode=0o755)
    secrets: set[str] = set()
    record = Record(tmp_path / "runs", "install & more", secrets)
    twin = Record(tmp_path / "runs", "install & more", secrets)
    assert record.path != twin.path
    secrets.add('hunter"22')
    record.write("note", sentence='said hunter"22', output=['hunter"22', 3])
    event = json.loads(record.path.read_text())
    assert (event["event"], event["sentence"], event["output"]) == ("note", "said ***", ["***", 3])
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.path.parent.stat().st_mode) == 0o700
    assert record.path.name.endswith("-install-more.jsonl")
    twin.close()
    record.close()


def test_a_record_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(DeployError, match=f"cannot write the run record in {tmp_path}/runs: .*nothing was changed"):
        Record(tmp_path / "runs", "install", set())


def test_a_full_disk_ends_the_record_and_not_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path / "runs", "install", set())
    os.close(record.file)
    record.file = os.open("/dev/full", os.O_WRONLY)
    record.write("note")
    record.write("note")
    assert capsys.readouterr().err == f"tandem: the run record {record.path} ends here: No space left on device\n"


def test_a_journal_outside_a_run_is_refused() -> None:
    with pytest.raises(DeployError, match=r"belongs in a deploy file"):
        journal.start("install")
