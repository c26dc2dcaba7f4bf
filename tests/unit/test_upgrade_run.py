"""upgrade, rollback and status in real runs of pyinfra; a script stands in for the host's tandemctl."""

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.config import load
from tandem.config.case_files import document
from tandem.domain.rollout import Past, State
from tandem.domain.upgrade_orders import fingerprint
from tandem.hostside.state import to_record
from tandem.render.release import release_digest
from tandem.steps.planning import order
from tests.unit import real_pyinfra
from tests.unit.real_pyinfra import Ended
from tests.unit.serving import program
from tests.unit.test_config import GOOD, changed
from tests.unit.test_upgrade_plan import IDLE, NEW, OLD, plan, under_way

SERVES = replace(NEW, weight=100, asked=NEW.engine_ports)
FINISHED = Past("1", "finished", "", "2026-11-20", "b", NEW.digest, start_seconds=95.0)
UNREAD = [
    "LoadState=not-found", "ActiveState=inactive", "SubState=dead", "Result=success", "UnitFileState=",
    "NeedDaemonReload=no", "ConditionResult=no", "ConditionTimestampMonotonic=0",
]  # fmt: skip
REPORT = {"rollout": {"id": "1", "old": {"release": "a"}, "new": {"release": "b"}}, "steps": [], "samples": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory.py").write_text("from tandem import connection\nconnection.watch()\nhosts = ['@local']\n")
    serve(tmp_path, IDLE)
    return tmp_path


def serve(folder: Path, state: State | None, **fails: int) -> None:
    """The host records ``state`` (None: damaged); ``fails``: orders by their first word, with the exit status."""
    record = "" if state is None else json.dumps(to_record(state))
    (folder / "status.json").write_text(record)
    (folder / "report.json").write_text(json.dumps(REPORT))
    failing = "".join(f"{word}) echo {word} was refused >&2; exit {status};;\n" for word, status in fails.items())
    script = folder / "tandemctl"
    script.write_text(
        f"#!/bin/sh\ncd {shlex.quote(str(folder))}\n"
        'case "$1" in\nstatus) [ -s status.json ] || { echo damaged >&2; exit 3; }; exec cat status.json;;\n'
        "report) exec cat report.json;;\nesac\n"
        'echo "$@" >> orders\n[ "$2" = begin ] && cat > order.json\n'
        f'case "$1" in\n{failing}follow) echo comparing; echo finished;;\nesac\n'
    )
    script.chmod(0o755)


def apply(folder: Path, words: str, *arguments: str) -> Ended:
    (folder / "deploy.py").write_text(
        f"import tandem.commands\ntandem.commands.TANDEMCTL = {str(folder / 'tandemctl')!r}\n{words}\n"
    )
    # A systemd that has not read the new units yet: there is none on a machine that only builds.
    show = "for name; do case $name in *.service) printf '%s\\n' " + " ".join(UNREAD) + " '';; esac; done"
    program(folder / "bin", "systemctl", show)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return real_pyinfra.run(folder, "inventory.py", "deploy.py", *(arguments or ("-y",)), PATH=path)


def orders(folder: Path) -> list[str]:
    place = folder / "orders"
    return place.read_text().splitlines() if place.exists() else []


ROLLBACK = "from tandem.steps import rollback\nrollback.undo()"
STATUS = "from tandem.steps import status\nstatus.show()"
STEER = "from tandem.steps import upgrade\nassert upgrade.steered()\nupgrade.follow()"


# rollback.py


@pytest.mark.parametrize("phase", ["staging", "comparing", "shifting", "soaking", "finishing", "rolling_back"])
def test_one_command_undoes_a_rollout_in_every_phase_without_any_configuration(folder: Path, phase: str) -> None:
    serve(folder, under_way(phase))
    dry = apply(folder, ROLLBACK, "--dry")
    assert (dry.status, orders(folder)) == (0, []), dry.stderr
    assert "would be: undid the rollout that was under way" in dry.last_words
    ended = apply(folder, ROLLBACK, "-y", "--data", "why=slow answers")
    assert (ended.status, orders(folder)) == (0, ["rollback --why=slow answers"]), ended.stderr
    assert "1 changed, 0 unchanged" in ended.last_words


def test_a_record_that_cannot_be_read_is_left_to_the_host_to_judge(folder: Path) -> None:
    serve(folder, None, rollback=3)
    ended = apply(folder, ROLLBACK)
    assert (ended.status, orders(folder)) == (1, ["rollback"])
    assert "rollback was refused" in ended.stdout + ended.stderr


def test_with_nothing_to_undo_nothing_is_asked_and_the_way_back_is_said(folder: Path) -> None:
    for past, words in ((None, "no upgrade took place"), (FINISHED, "upgrade.py -y --data release=b")):
        serve(folder, replace(IDLE, past=past))
        ended = apply(folder, ROLLBACK)
        assert (ended.status, orders(folder)) == (0, []), ended.stderr
        assert f"note: nothing to undo: release a serves{' since' if past else ', and'}" in ended.last_words
        assert words in ended.last_words


# status.py


def test_the_status_is_a_screen_or_one_line_of_json_and_changes_nothing(folder: Path) -> None:
    for state in (IDLE, under_way("shifting", 30)):
        serve(folder, state)
        shown = apply(folder, STATUS)
        assert shown.status == 0, shown.stderr
        assert "@local:" in shown.stdout
        assert "a" in shown.stdout.partition("serves")[2].splitlines()[0].split()
        ended = apply(folder, STATUS, "-y", "--data", "json=true")
        answer = json.loads(ended.stdout.strip().splitlines()[-1])
        assert (answer["host"], answer["state"]) == ("@local", state.phase)
    assert orders(folder) == []


def test_a_host_without_tandem_has_a_status_and_nothing_to_undo(folder: Path) -> None:
    (folder / "tandemctl").unlink()
    shown = apply(folder, STATUS)
    assert (shown.status, "nothing is installed; run deploys/install.py" in shown.stdout) == (0, True), shown.stderr
    ended = apply(folder, ROLLBACK)
    assert (ended.status, "nothing to undo: nothing serves yet" in ended.last_words) == (0, True), ended.stderr


def test_the_report_is_brought_beside_the_record_for_its_owner_only(folder: Path) -> None:
    ended = apply(folder, STATUS, "-y", "--data", "report=true")
    (page,) = (folder / "runs").glob("*/report.html")
    assert ended.status == 0, ended.stderr
    assert f"note: report: runs/{page.parent.name}/report.html" in ended.last_words
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    assert json.loads((page.parent / "report.json").read_text()) == REPORT
    assert {file.stat().st_mode & 0o777 for file in page.parent.iterdir()} == {0o600}
    (folder / "report.json").write_text("{}")
    ended = apply(folder, STATUS, "-y", "--data", "report=true")
    assert (ended.status, "the host has no report of a rollout" in ended.last_words) == (0, True)


# upgrade.py --data move=..., follow=true


def test_a_rollout_is_steered_without_any_configuration(folder: Path) -> None:
    words = ["--data", "move=hold", "--data", "why=lunch break"]
    assert (apply(folder, STEER, "--dry", *words).status, orders(folder)) == (0, [])
    for given in (words, ["--data", "move=50"]):
        assert apply(folder, STEER, "-y", *given).status == 0
    assert orders(folder) == ["upgrade hold --why=lunch break", "upgrade move --weight 50"]
    ended = apply(folder, STEER, "-y", "--data", "move=101")
    assert (ended.status, len(orders(folder))) == (1, 2)
    assert "give a share from 1 to 100, hold, resume, finish" in ended.last_words.lower()


@pytest.mark.parametrize("status", [0, 1])
def test_who_follows_hears_the_end_and_gets_the_report_however_it_ended(folder: Path, status: int) -> None:
    serve(folder, under_way("soaking", 100), **({"follow": 1} if status else {}))
    ended = apply(folder, STEER, "-y", "--data", "move=finish", "--data", "follow=true")
    assert (ended.status, orders(folder)) == (status, ["upgrade finish", "follow"]), ended.stderr
    assert ("follow was refused" if status else "finished") in ended.stdout + ended.stderr
    (page,) = (folder / "runs").glob("*/report.html")
    assert f"note: report: runs/{page.parent.name}/report.html" in ended.last_words


# upgrade.py


def configured(folder: Path, data: dict[str, Any]) -> dict[str, Any]:
    weights = {**data["weights"], "directory": str(folder / "weights")}
    comparison = {"comparison": {"cases": [str(real_pyinfra.ROOT / "cases")]}}
    more = {"doctor": {"network_timeout_seconds": 1}, "upgrade": data.get("upgrade") or comparison}
    return {**data, "weights": weights, "webui": {**data["webui"], "prompts": None}, **more}


def upgrade(folder: Path, state: State, *arguments: str, data: dict[str, Any] | None = None) -> Ended:
    """The whole deploy but for the doctor; the host has no engine of ours, and this run only plans. Its cases are in
    ``folder``.
    """
    serve(folder, state)
    given = configured(folder, data or GOOD)
    return apply(
        folder,
        f"from tandem.render import prober\nprober.CASES = {str(folder / 'cases.json')!r}\n"
        "from pyinfra import host\nfrom tandem import journal\nfrom tandem.config import load\n"
        "from tandem.hostside.state import from_record\nfrom tandem.steps import upgrade\n"
        "from tandem.steps.run import Run\njournal.start('upgrade')\n"
        f"work = upgrade.plan(Run(host.name, load({given!r}, 'gpu1'), from_record({to_record(state)!r})))\n"
        "upgrade.bring(work)\nupgrade.stage(work)\nupgrade.start(work)\n",
        *(arguments or ("--dry",)),
    )


def test_a_new_release_is_planned_aloud_and_a_dry_run_changes_nothing(folder: Path) -> None:
    ended = upgrade(folder, IDLE, data=changed("releases/a/arguments", {"max-model-len": 4096}))
    assert (ended.status, orders(folder)) == (0, []), ended.stderr
    told = [event["lines"] for event in real_pyinfra.records(folder)[-1] if event["event"] == "plan"]
    assert told[0][0] == "upgrade: a takes the place of a, which had another definition under the same name"
    assert all(f"[@local] {line}".rstrip() in ended.stderr + ended.stdout for line in told[0] if line.strip())
    for sentence in (
        "parked vllm-green-0, vllm-green-1",
        "made /etc/containers/systemd/vllm-green-0.container",
        "made systemd read vllm-green-0.service, vllm-green-1.service again",
        "began the rollout of a (",
    ):
        assert f"would be: {sentence}" in ended.last_words


def test_an_upgrade_with_too_few_cases_is_refused_before_anything_is_asked(folder: Path) -> None:
    lines = (
        {
            "name": f"c{n}",
            "kind": "answer",
            "messages": [{"role": "user", "content": "2+2?", "expect": {"contains": ["4"]}}],
        }
        for n in range(3)
    )
    (folder / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = upgrade(folder, IDLE, "-y", data=GOOD | {"upgrade": {"comparison": {"cases": [str(folder / "few.jsonl")]}}})
    assert (ended.status, orders(folder)) == (1, [])
    assert "there are 3 cases, and least_cases is 7" in ended.last_words, ended.stderr[-900:]


def test_the_host_is_told_once_what_to_do_and_never_in_its_arguments(folder: Path) -> None:
    told = order(plan(), allow_gap=False)
    words = (
        f"from tandem.operations import rollout\nrollout.PARKED = {str(folder / 'parked')!r}\n"
        "rollout.prepare(name='Park', slot='green', cards=[0, 1])\n"
        f"rollout.begin(name='Begin', order={told!r})\n"
    )
    ended = apply(folder, "from tandem import journal\njournal.start('upgrade')\n" + words)
    assert (ended.status, orders(folder)) == (0, ["upgrade prepare --slot green --cards 0,1", "upgrade begin"])
    assert json.loads((folder / "order.json").read_text()) == told
    assert f"began the rollout of b ({NEW.digest}) in green: take-turns" in ended.last_words
    for state in (under_way("staging"), State("green", {"green": SERVES}, IDLE.webui)):
        serve(folder, state)
        (folder / "parked").mkdir(exist_ok=True)
        for card in (0, 1):
            (folder / f"parked/vllm-green-{card}").touch()
        again = apply(folder, "from tandem import journal\njournal.start('upgrade')\n" + words)
        assert (again.status, len(orders(folder))) == (0, 2), again.stderr
        assert "0 changed, 2 unchanged" in again.last_words


def test_only_the_planned_order_may_be_begun_of_what_is_prepared(folder: Path) -> None:
    told = {**order(plan(), allow_gap=False), "units": {}, "cases": "c" * 64}
    words = (
        f"from tandem.operations import rollout\nrollout.PARKED = {str(folder / 'parked')!r}\n"
        f"rollout.prepare(name='Park', slot='green', cards=[0, 1], order={told!r})\n"
        f"rollout.begin(name='Begin', order={told!r})\n"
    )
    (folder / "parked").mkdir()
    for card in (0, 1):  # Somebody prepared the slot before: that is not enough.
        (folder / f"parked/vllm-green-{card}").touch()
    ended = apply(folder, "from tandem import journal\njournal.start('upgrade')\n" + words)
    assert ended.status == 0, ended.stderr
    prepared, _ = orders(folder)
    sent = json.loads((folder / "order.json").read_text())
    assert prepared == f"upgrade prepare --slot green --cards 0,1 --order {fingerprint(sent)}"
    assert fingerprint({**sent, "cases": "d" * 64}) != fingerprint(sent)


def test_a_rollout_keeps_the_cases_that_it_began_with(folder: Path) -> None:
    config, cases = load(configured(folder, GOOD), host="gpu1"), folder / "cases.json"
    both = {"blue": OLD, "green": replace(NEW, digest=release_digest(config))}
    state = replace(under_way("shifting", 30), slots=both)
    note = f"the cases were edited since this rollout began: it keeps those that it began with ({cases} was left"
    for text, says in (("others", True), (document(config.upgrade.comparison.cases), False)):
        cases.write_text(text)
        ended = upgrade(folder, state)
        assert ended.status == 0, ended.stderr
        assert (note in ended.last_words, f"wrote {cases}" in ended.last_words) == (says, False)
    cases.unlink()
    assert f"would be: made {cases}" in upgrade(folder, state).last_words
    cases.write_text("others")
    assert f"would be: wrote {cases}" in upgrade(folder, IDLE).last_words


def test_the_release_that_serves_is_nothing_to_do(folder: Path) -> None:
    config = load(configured(folder, GOOD), host="gpu1")
    serving = replace(IDLE, slots={"blue": replace(OLD, digest=release_digest(config))})
    ended = upgrade(folder, serving)
    assert (ended.status, orders(folder)) == (0, []), ended.stderr
    assert "0 would change, 0 would not" in ended.last_words
    assert "note: nothing to do: release a (" in ended.last_words


def test_a_third_release_is_refused_before_anything_is_asked(folder: Path) -> None:
    ended = upgrade(folder, under_way("shifting", 30), "-y")
    assert (ended.status, orders(folder)) == (1, [])
    assert "a rollout from a to b is under way (30 % of the requests, shifting)" in ended.last_words
    assert "nothing was changed: " in ended.last_words
