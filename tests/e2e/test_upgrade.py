"""Two real vLLM releases side by side under load: one that answers wrong, one that takes over, and the way back.

Client retries are off; the engines compute on few slow cores, so nothing here is about speed.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tandem.rehearsal.rootfs import Host
from tests.bench import door, questions
from tests.bench.load import Load, Mix
from tests.bench.record import MOVING, QUIET, SETTLING, UNHURT
from tests.e2e.install import Ended, run
from tests.e2e.site import Site
from tests.e2e.units import on_host

# A key may ask five times a second.
MIX = Mix(1, 1, 0, 2, 1, 2, pause_seconds=2.0, think_seconds=3.0, most_seconds=2400)
LIMIT_SECONDS = 1200
UPGRADE, ROLLBACK = "deploys/upgrade.py", "deploys/rollback.py"


def status(machine: Host) -> dict[str, Any]:
    found = json.loads(on_host(machine, "tandemctl status --json"))
    assert isinstance(found, dict)
    return found


def wait(machine: Host, *ends: str) -> tuple[dict[str, Any], list[int]]:
    """Until there is no rollout, or its phase is one of ``ends``; the status then, and the new release's shares."""
    shares: list[int] = []
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        seen = status(machine)
        rollout = seen["rollout"]
        if rollout:
            assert rollout["held"] is None, rollout["held"]
            shares.append(seen["slots"][rollout["swap"]["new"]]["weight"])
        if rollout is None or rollout["phase"] in ends:
            return seen, list(dict.fromkeys(shares))
        # Each look takes half a second of one of the two cores that compute the answers.
        time.sleep(3)
    pytest.fail(f"still {seen['state']} after {LIMIT_SECONDS} s: {seen['guard']}")


@pytest.fixture(scope="module")
def load(site: Site) -> Iterator[Load]:
    """Users, from before the first upgrade to after the last."""
    where = door.of_access(site.access, site.cookie["Cookie"], "default")
    users = Load(where, questions.rehearsal(), MIX)
    users.start()
    try:
        users.phase("before", QUIET)
        time.sleep(10)
        yield users
    finally:
        if users.running:
            users.stop()


def upgrade(machine: Host, *words: str) -> Ended:
    ended = run(UPGRADE, machine.name, *words)
    assert ended.status == 0, ended.output
    return ended


def test_a_release_that_answers_wrong_is_caught_before_anybody_gets_to_see_it(machine: Host, load: Load) -> None:
    load.phase("wrong", SETTLING)
    upgrade(machine, "--data", "release=wrong")
    again = upgrade(machine, "--data", "release=wrong")
    assert again.end["changed"] == [], again.output
    assert "goes on" in again.output
    third = run(UPGRADE, machine.name, "--data", "release=b")
    assert third.status != 0
    assert "rollback.py" in third.output
    seen, shares = wait(machine)
    assert shares == [0]
    assert (seen["past"]["outcome"], seen["past"]["release"]) == ("undone", "wrong")
    assert "answers:" in seen["past"]["why"]
    assert seen["slots"][seen["serving"]]["release"] == "a"


def test_a_good_release_takes_over_while_people_work(machine: Host, load: Load) -> None:
    load.phase("staging", SETTLING)
    upgrade(machine, "--data", "release=b")
    wait(machine, "comparing")
    load.phase("comparing and shifting", MOVING)
    _, early = wait(machine, "soaking")
    load.phase("soaking and finishing", SETTLING)
    seen, late = wait(machine)
    assert list(dict.fromkeys(early + late)) == [0, 10, 30, 50, 70, 90, 100]
    current = seen["slots"][seen["serving"]]
    assert (current["release"], len(current["asked"])) == ("b", 2)
    assert (seen["past"]["outcome"], seen["past"]["release"]) == ("finished", "a")
    nothing = upgrade(machine, "--data", "release=b")
    assert nothing.end["changed"] == []
    assert "serves" in nothing.output


def test_the_report_holds_every_step_with_its_reasons(machine: Host, load: Load) -> None:
    report = json.loads(on_host(machine, "tandemctl report --json"))
    judged = [step for step in report["steps"] if step["phase"] in ("comparing", "shifting", "soaking")]
    assert [step["weight"] for step in judged] == [0, 10, 30, 50, 70, 90, 100, 100]
    assert {step["verdict"]["outcome"] for step in judged} == {"pass"}
    assert report["rollout"]["outcome"] == "finished"
    assert len(report["samples"]) >= 8 * 50


def test_the_release_before_comes_back_by_hand_without_a_download(machine: Host, load: Load) -> None:
    """An upgrade like any other; people may move it faster, once it was compared."""
    load.phase("the way back", SETTLING)
    rolled = run(ROLLBACK, machine.name)
    assert "without download" in rolled.output
    begun = upgrade(machine, "--data", "release=a")
    assert "Model files" not in " ".join(
        event.get("operation", "") for event in begun.events if event.get("result") == "changed"
    )
    wait(machine, "shifting")
    upgrade(machine, "--data", "move=100")
    wait(machine, "soaking")
    upgrade(machine, "--data", "move=finish")
    seen, _ = wait(machine)
    assert seen["slots"][seen["serving"]]["release"] == "a"
    assert seen["past"]["outcome"] == "finished"


def test_an_install_afterwards_tidies_up_and_touches_nothing_that_serves(machine: Host, load: Load) -> None:
    load.phase("install", SETTLING)
    before = status(machine)["slots"]
    ended = run("deploys/install.py", machine.name)
    assert ended.status == 0, ended.output
    notes = [event["sentence"] for event in ended.events if event["event"] == "note"]
    assert notes
    assert [note for note in notes if not note.startswith("removed /etc/containers/systemd/vllm-green-")] == []
    assert status(machine)["slots"] == before
    assert run("deploys/install.py", machine.name).end["changed"] == []


def test_nobody_noticed(load: Load) -> None:
    record = load.stop()
    print(record.table())
    seen = record.of(*UNHURT)
    assert record.ended == "stopped"
    assert seen.requests > 100
    assert seen.wrong == 0, record.troubles(*UNHURT)
