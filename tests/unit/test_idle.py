"""Engines that nobody asks, on real sockets: one whose core hangs while it says that all is well is found."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tandem.domain.layout import Engine
from tandem.domain.watch import Look
from tandem.hostside.idle import AGAIN_SECONDS, FAILURES, Idle
from tandem.hostside.paths import Paths
from tests.unit.serving import Behaviour, serving

IDLE_SECONDS = 300.0
KEY = "k" * 64


@dataclass(frozen=True, order=True)
class Local(Engine):
    """An engine of slot blue at a free port."""

    at: int = 0

    @property
    def port(self) -> int:
        return self.at


@dataclass
class Seen:
    """An engine of which a look is taken whenever time goes on."""

    idle: Idle
    engine: Engine
    now: float = 1000.0
    tokens: float = 10.0
    running: float = 0.0
    answered: bool = True
    model: str = "m"
    faults: dict[Engine, str] = field(default_factory=dict)

    def look(self, seconds: float = 1.0) -> dict[Engine, str]:
        self.now += seconds
        look = Look(self.now, answered=self.answered, running=self.running, tokens=self.tokens)
        models = {self.engine: self.model} if self.model else {}
        self.faults = self.idle.look(models, [self.engine], {self.engine.unit: look}, self.now)
        return self.faults

    def asked(self, behaviour: Behaviour, count: int) -> None:
        """Waits until it was asked so often, and looks once that answer is over."""
        eventually(lambda: len(behaviour.asked) >= count)
        eventually(lambda: not any(pulse.thread and pulse.thread.is_alive() for pulse in self.idle._pulses.values()))
        self.look()
        assert len(behaviour.asked) == count


def eventually(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Idle]:
    monkeypatch.setattr("tandem.hostside.idle.TIMEOUT_SECONDS", 0.3)
    paths = Paths(tmp_path)
    paths.secrets.mkdir(parents=True)
    paths.upstream_key.write_text(KEY + "\n")
    with closing(Idle(paths, IDLE_SECONDS)) as idle:
        yield idle


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(key=KEY)


@pytest.fixture
def seen(idle: Idle, behaviour: Behaviour) -> Iterator[Seen]:
    with serving(behaviour) as port:
        yield Seen(idle, Local("blue", 0, port))


def hang(seen: Seen, behaviour: Behaviour) -> None:
    """Its core: requests are taken and never answered, and the counters stand still."""
    behaviour.delay_seconds = 60
    for count in range(1, FAILURES + 1):
        assert seen.look(IDLE_SECONDS if count == 1 else AGAIN_SECONDS) == {}
        seen.asked(behaviour, count)


def test_an_engine_is_asked_for_one_token_only_after_it_was_idle_for_long_enough(
    seen: Seen, behaviour: Behaviour
) -> None:
    for _ in range(int(IDLE_SECONDS)):
        seen.look()
    assert behaviour.asked == []
    seen.look()
    seen.asked(behaviour, 1)
    assert json.loads(behaviour.asked[0]["body"])["max_tokens"] == 1
    for _ in range(int(IDLE_SECONDS) - 3):
        seen.look()
    assert len(behaviour.asked) == 1
    seen.look(3)
    seen.asked(behaviour, 2)
    assert seen.faults == {}


def test_no_look_waits_for_an_engine_that_does_not_answer(seen: Seen, behaviour: Behaviour) -> None:
    behaviour.delay_seconds = 60
    seen.look()
    started = time.monotonic()
    seen.look(IDLE_SECONDS)
    assert time.monotonic() - started < 0.2


def test_three_requests_in_a_row_without_an_answer_are_a_fault_until_it_is_forgotten(
    seen: Seen, behaviour: Behaviour
) -> None:
    seen.look()
    hang(seen, behaviour)
    assert list(seen.faults.values()) == ["vllm-blue-0 was idle and made no token in 3 requests in a row"]
    seen.look(10 * IDLE_SECONDS)
    assert (len(behaviour.asked), len(seen.faults)) == (FAILURES, 1)
    seen.model = ""  # It is asked by nobody any more, and watched.
    assert seen.look()
    seen.idle.forget(seen.engine)
    assert seen.look() == {}


def test_an_answer_ends_a_row_of_failures(seen: Seen, behaviour: Behaviour) -> None:
    seen.look()
    behaviour.status = 500
    for count in range(1, 9):
        behaviour.status = 200 if count % FAILURES == 0 else 500
        seen.look(IDLE_SECONDS)
        seen.asked(behaviour, count)
        assert seen.faults == {}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_engine_that_knows_another_key_or_model_is_not_hung(seen: Seen, behaviour: Behaviour, status: int) -> None:
    seen.look()
    behaviour.status = status
    for count in range(1, 6):
        seen.look(IDLE_SECONDS)
        seen.asked(behaviour, count)
        assert seen.faults == {}


@pytest.mark.parametrize("others", ["tokens", "requests"])
def test_what_others_are_answered_meanwhile_is_no_failure(seen: Seen, behaviour: Behaviour, others: str) -> None:
    seen.look()
    behaviour.delay_seconds = 60
    for count in range(1, FAILURES + 2):
        assert seen.faults == {}
        seen.look(IDLE_SECONDS)
        if count == 1 and others == "tokens":
            seen.tokens += 1
        elif count == 1:
            seen.running = 2
        seen.look()
        seen.running = 0
        seen.asked(behaviour, count)
    assert seen.faults


def test_one_that_has_work_or_does_not_say_its_counters_is_not_asked(seen: Seen, behaviour: Behaviour) -> None:
    seen.running = 1
    for _ in range(5):
        seen.look(IDLE_SECONDS)
    seen.running, seen.answered = 0, False
    for _ in range(5):
        seen.look(IDLE_SECONDS)
    assert behaviour.asked == []


def test_a_missing_key_says_nothing_of_an_engine(tmp_path: Path) -> None:
    behaviour = Behaviour()
    with serving(behaviour) as port, closing(Idle(Paths(tmp_path), IDLE_SECONDS)) as idle:
        seen = Seen(idle, Local("blue", 0, port))
        for _ in range(10):
            seen.look(IDLE_SECONDS)
            time.sleep(0.02)
    assert (behaviour.asked, seen.faults) == ([], {})
