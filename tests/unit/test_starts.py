"""How long an engine took to start is written down where its start was seen, by real waits for engines on loopback."""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tandem.hostside import carry
from tandem.hostside.paths import Paths
from tandem.hostside.probe import CLOSED, Answer, Target
from tandem.hostside.starts import Starts
from tandem.hostside.waiting import NotReady, Pace, wait_ready
from tests.unit.serving import Behaviour, program, serving, unit_block

UNIT = "vllm-blue-0"
FAST = Pace(ask_seconds=0.05, tell_seconds=5, answer_seconds=5)
SHUT, LATE, DONE = Answer(False, 0.0, CLOSED), Answer(False, 0.5, "a completion answers 503"), Answer(True, 2.0, "done")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A host whose systemctl says what the file ``units`` holds."""
    program(tmp_path / "bin", "systemctl", f"cat {tmp_path}/units")
    program(tmp_path / "bin", "journalctl", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    paths = Paths(tmp_path)
    paths.starts.parent.mkdir(parents=True)
    return paths


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[float], None]:
    """The engine's process started at this second of the monotonic clock."""

    def runs(started: float) -> None:
        said = f"{unit_block(UNIT)}MainPID=7\nExecMainStartTimestampMonotonic={int(started * 1e6)}\n"
        (tmp_path / "units").write_text(said)

    return runs


def wait(port: int, paths: Paths, seconds: float = 20, unit: str = UNIT) -> None:
    wait_ready([Target(unit, f"http://127.0.0.1:{port}", "tiny")], "", seconds, paths, lambda _: None, FAST)


def free_port() -> int:
    with serving(Behaviour()) as port:
        return port


def test_an_engine_that_loads_while_it_is_waited_for_has_a_measured_start(
    paths: Paths, runs: Callable[[float], None]
) -> None:
    started, port, over = time.monotonic() - 30, free_port(), threading.Event()
    runs(started)

    def load() -> None:
        time.sleep(0.6)
        with serving(Behaviour(delay_seconds=0.3), port):
            over.wait(20)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait(port, paths)
        took = time.monotonic() - started
    finally:
        over.set()
        thread.join()
    assert 30.9 <= carry.starts(paths)[UNIT] <= took + 0.1
    assert json.loads(paths.starts.read_text()).keys() == {UNIT}


def test_of_an_engine_that_answers_at_once_nobody_knows_how_long_it_took(
    paths: Paths, runs: Callable[[float], None]
) -> None:
    runs(time.monotonic() - 30)
    with serving(Behaviour(refusals=3)) as port:
        wait(port, paths)
    assert not paths.starts.exists()


def test_an_engine_that_never_completes_has_no_start(paths: Paths, runs: Callable[[float], None]) -> None:
    runs(time.monotonic() - 30)
    with pytest.raises(NotReady):
        wait(free_port(), paths, 0.5)
    assert not paths.starts.exists()


@pytest.mark.parametrize(
    ("answers", "measured"),
    [
        ([(0, 100, SHUT), (0, 101, DONE)], 103.0),
        ([(0, 100, SHUT), (0, 101, LATE), (0, 102, DONE)], 104.0),
        ([(0, 100, SHUT), (0, 101, DONE), (0, 200, SHUT), (0, 201, DONE)], 203.0),
        ([(0, 100, SHUT), (0, 101, DONE), (0, 103, DONE)], 103.0),
        # A completion before this one may have been the first.
        ([(0, 100, DONE)], None),
        ([(0, 100, LATE), (0, 101, DONE)], None),
        ([(0, 100, SHUT), (0, 140, DONE)], None),
        # Another process than the one that was seen loading.
        ([(0, 100, SHUT), (90, 101, DONE)], None),
        # It was another one's port that was closed.
        ([(100.5, 100, SHUT), (100.5, 101, DONE)], None),
        ([(0, 100, SHUT), (100.5, 101, SHUT), (100.5, 102, DONE)], 3.5),
    ],
)
def test_only_a_start_that_was_seen_is_measured(
    paths: Paths,
    runs: Callable[[float], None],
    answers: Sequence[tuple[float, float, Answer]],
    measured: float | None,
) -> None:
    """``answers``: when the process had started that runs then, when it was asked, and what it answered."""
    starts = Starts(paths)
    for started, asked, answer in answers:
        runs(started + 1)
        starts.note({UNIT: answer}, asked + 1)
    assert carry.starts(paths).get(UNIT) == measured


def test_what_is_known_of_other_engines_stays(paths: Paths, runs: Callable[[float], None]) -> None:
    carry.note_starts({UNIT: 1.0, "vllm-green-0": 2.0}, paths)
    starts = Starts(paths)
    runs(1)
    for asked, answer in ((100, SHUT), (101, DONE)):
        starts.note({UNIT: answer}, asked)
    assert carry.starts(paths) == {UNIT: 102.0, "vllm-green-0": 2.0}
