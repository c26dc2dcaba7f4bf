"""What can happen to a host and to its operators while an upgrade is under way: it serves, and the upgrade ends."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.programs.knobs.settings import Knobs
from tests.bench.door import Door
from tests.bench.questions import counting
from tests.faults.conftest import made_anew
from tests.faults.deploying import Workplace
from tests.faults.killing import Killed, delay, kill_at
from tests.faults.onhost import OnHost
from tests.faults.sampling import WHOLE
from tests.faults.upgrading import AT_ONCE, GOOD, TOKENS, UPGRADE, Knobbed

PHASES: Final = ("staging", "comparing", "shifting", "soaking", "finishing", "rolling_back")
PACING: Final = {"weights": [10, 100], "window_seconds": 5, "soak_seconds": 15, "most_extensions": 60}
SLOW_START: Final = Knobs(start_seconds=8)
PHASE_SECONDS: Final = 180
ANSWER_SECONDS: Final = 120
ONE_CARD: Final = "knob2"
GAP: Final = {**AT_ONCE, "allow_gap": True}
TOLD: Final = (
    "another upgrade was prepared",
    "is not what was prepared last",
    "somebody else staged another release meanwhile",
    "is under way",
)
"""By how far the other operator was, when it was refused."""


def ask(door: Door) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one answer. Raises OSError, HTTPException."""
    question = counting(TOKENS)[0]
    body = {"model": door.model, "messages": [{"role": "user", "content": question.prompt}], "max_tokens": TOKENS}
    connection = http.client.HTTPSConnection(door.address, door.port, timeout=10, context=door.trust)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), door.headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def answers(door: Door) -> float:
    """Seconds until it answers."""
    began, said = time.monotonic(), ""
    while time.monotonic() - began < ANSWER_SECONDS:
        try:
            status, _, said = ask(door)
            if status == 200:
                assert not counting(TOKENS)[0].wrong(json.loads(said)["choices"][0]["message"]["content"])
                return time.monotonic() - began
        except (OSError, http.client.HTTPException) as error:
            said = f"{type(error).__name__}: {error}"
        time.sleep(0.5)
    pytest.fail(f"no answer after {ANSWER_SECONDS} s; the last one: {said}")


def reach(knobbed: Knobbed, phase: str) -> None:
    end = time.monotonic() + PHASE_SECONDS
    while (found := knobbed.state()["state"]) != phase:
        assert time.monotonic() < end, f"{phase} was not reached, it is {found}"
        assert found != "idle", knobbed.state()["past"]


def at_home(knobbed: Knobbed) -> None:
    """The good release serves alone, whatever served."""
    _, course = knobbed.upgrade(GOOD, Knobs(), AT_ONCE)
    serving = course.state["slots"][course.state["serving"]]
    assert (serving["release"], serving["weight"], course.state["rollout"]) == (GOOD, 100, None)


@pytest.mark.parametrize("phase", PHASES)
def test_a_host_that_boots_in_any_phase_serves_and_ends_the_upgrade(knobbed: Knobbed, phase: str) -> None:
    there, name = OnHost(knobbed.name), f"boot-{phase.replace('_', '-')}"
    # What is undone is not begun again, whatever its name: the other tests have another definition.
    knobs = replace(SLOW_START, start_seconds=9) if phase == "rolling_back" else SLOW_START
    ended = knobbed.workplace.run(knobbed.inventory(name, knobs, PACING), UPGRADE)
    assert ended.status == 0, ended.output
    if phase == "rolling_back":
        reach(knobbed, "shifting")
        there.shell("tandemctl rollback --why booting")
    elif phase == "finishing":
        reach(knobbed, "soaking")
        there.shell("tandemctl upgrade finish")
    else:
        reach(knobbed, phase)
    host.reboot(STATE, knobbed.name)
    took = answers(knobbed.door())
    course = knobbed.course()
    print(f"{phase}: an answer {took:.1f} s after SSH, then {course.outcome}: {course.places}")
    assert course.outcome == ("undone" if phase == "rolling_back" else "finished"), course
    answers(knobbed.door())
    at_home(knobbed)


def test_an_upgrade_whose_operator_dies_is_begun_or_ended_by_the_next_run(knobbed: Knobbed, seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    chance = random.Random(seed)  # noqa: S311 - repeatable
    inventory = knobbed.inventory("killed-0", SLOW_START, AT_ONCE)
    operations = knobbed.workplace.run(inventory, UPGRADE).operations("operation_start")
    assert knobbed.course().outcome == "finished"
    at_home(knobbed)
    for number, operation in enumerate(chance.sample(operations, 3 if WHOLE else 1), start=1):
        name = f"killed-{number}"
        inventory = knobbed.inventory(name, SLOW_START, AT_ONCE)
        killed = kill_at(knobbed.workplace, inventory, operation.__eq__, delay(chance), UPGRADE)
        assert isinstance(killed, Killed), killed
        answers(knobbed.door())
        again = knobbed.workplace.run(inventory, UPGRADE)
        assert again.status == 0, again.output
        course = knobbed.course()
        print(f"{killed}: {course.outcome}")
        assert course.outcome == "finished", course
        last = knobbed.workplace.run(inventory, UPGRADE)
        assert (last.status, last.changed) == (0, []), last.output
        at_home(knobbed)


def test_of_two_operators_one_upgrades_and_the_other_is_told(knobbed: Knobbed, tmp_path: Path) -> None:
    rivals = [Knobbed(knobbed.name, Workplace(tmp_path / name / "work")) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(rival.workplace.run, rival.inventory(f"rival-{number}", SLOW_START, AT_ONCE), UPGRADE)
            for number, rival in enumerate(rivals)
        ]
        ended = [run.result() for run in runs]
    assert sorted(bool(one.status) for one in ended) == [False, True], [one.output[-1500:] for one in ended]
    winner = [one.status for one in ended].index(0)
    told = " ".join(ended[1 - winner].output.split())
    assert any(reason in told for reason in TOLD), told[-3000:]
    course = knobbed.course()
    assert course.outcome == "finished", course
    assert course.state["slots"][course.state["serving"]]["release"] == f"rival-{winner}"
    at_home(knobbed)


@pytest.fixture
def one_card(tmp_path: Path) -> Iterator[Knobbed]:
    made_anew(ONE_CARD)
    found = Knobbed(ONE_CARD, Workplace(tmp_path / "one-card/work"), cards=(0,))
    ended = found.install()
    assert ended.status == 0, ended.output
    yield found
    host.remove(STATE, ONE_CARD)


def test_on_one_card_the_gap_needs_consent_is_announced_and_polite(one_card: Knobbed) -> None:
    refused = one_card.workplace.run(one_card.inventory("next", SLOW_START, AT_ONCE), UPGRADE)
    assert refused.status != 0
    assert "allow_gap" in refused.output
    assert one_card.state()["rollout"] is None
    seen, over, door = Counter[int](), threading.Event(), one_card.door()
    impolite = list[Any]()

    def users() -> None:
        while not over.is_set():
            status, headers, said = ask(door)
            seen[status] += 1
            if status != 200 and not (status == 503 and headers.get("Retry-After") and "error" in json.loads(said)):
                impolite.append((status, headers, said))
            time.sleep(0.1)

    user = threading.Thread(target=users)
    user.start()
    try:
        ended, course = one_card.upgrade("next", SLOW_START, GAP)
    finally:
        over.set()
        user.join()
    print(f"answers while it was replaced: {dict(seen)}; {ended.output[-3000:]}")
    assert (ended.status, course.outcome) == (0, "finished"), course
    assert seen[200]
    assert seen[503]
    assert impolite == []
    assert "NOTHING IS SERVED for" in ended.output
    back, course = one_card.upgrade(GOOD, Knobs(), GAP)
    assert (back.status, course.outcome) == (0, "finished"), course
