"""Whole rollouts in a small world: engines that take time to start, and a guard that looks at them again and again."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tandem.domain.advance import OVER, Pacing, Rollout, hold, resume, undo
from tandem.domain.guarding import Sight, concerned, decide, move, target_of
from tandem.domain.layout import ConvertAt, Engine, Route, Start, Stop, Strategy, Swap
from tandem.domain.rollout import Refused, Slot, State, Webui, begin, over, routed, routing

OLD = Slot("a", "a" * 16, (18100, 18101), 100, (18100, 18101), "m", "r", "i")
NEW = Slot("b", "b" * 16, (18200, 18201), 0, (), "m", "r", "i")
BLUE, GREEN = ((Engine(slot, 0), Engine(slot, 1)) for slot in ("blue", "green"))
LOADING_TICKS = 3
MOST_TICKS = 400


@dataclass
class World:
    """A host: ``loaded`` counts the looks since an engine started; ``dead`` never get ready, ``faults`` are seen."""

    state: State
    loaded: dict[Engine, int]
    outcome: Callable[[State], str] = lambda _: "pass"
    dead: set[Engine] = field(default_factory=set)
    faults: dict[Engine, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    unserved: int = 0
    shares: list[int] = field(default_factory=list)
    conversations: float = 0.0

    def sight(self) -> Sight:
        ready = {one for one, ticks in self.loaded.items() if ticks >= LOADING_TICKS and one not in self.dead}
        return Sight(
            frozenset(self.loaded),
            frozenset(ready - self.faults.keys()),
            self.faults,
            1.0,
            self.outcome(self.state),
            engines=self.conversations,
        )

    def tick(self) -> None:
        for engine in self.loaded:
            self.loaded[engine] += 1
        after, sentence = decide(self.state, self.sight())
        if sentence:
            self.said.append(sentence)
        if after is not None:
            self.state = replace(self.state, rollout=after)
            if after.phase in OVER:
                self.state = over(self.state, "now")
        match move(self.state, self.sight()):
            case Route(routing=wanted):
                self.state = routed(self.state, wanted)
            case Start(engine=engine):
                cards = {one.card for one in self.loaded if not self._shared}
                assert engine.card not in cards, "two engines on one card"
                self.loaded[engine] = 0
            case Stop(engine=engine):
                assert engine not in routing(self.state).engines, "an engine that is asked is never stopped"
                del self.loaded[engine]
                self.faults.pop(engine, None)
        sound = self.sight().ready
        self.unserved += not (routing(self.state).engines & sound)
        self.shares.append(self.state.slots["green"].weight if "green" in self.state.slots else 0)

    @property
    def _shared(self) -> bool:
        return self.state.rollout is not None and self.state.rollout.swap.strategy == "side-by-side"

    def run(self, until: Callable[[State], bool]) -> None:
        for _ in range(MOST_TICKS):
            if until(self.state):
                return
            self.tick()
        raise AssertionError(f"still {self.state.phase}: {self.said}, {target_of(self.state)}")


def world(strategy: Strategy = "take-turns", convert_at: ConvertAt = "soak_end", **more: object) -> World:
    swap = Swap("blue", "green", (0, 1), strategy, convert_at)
    pacing = Pacing(window_seconds=3, soak_seconds=5)
    serving = State(serving="blue", slots={"blue": OLD}, webui=Webui("blue", 18300))
    state = begin(serving, NEW, Rollout(swap, pacing, id="x"))
    return World(state, dict.fromkeys(BLUE, 99), **more)  # type: ignore[arg-type]


def ended(state: State) -> bool:
    return state.rollout is None


NEVER = ("comparing", "recreate")
WAYS = [("take-turns", "soak_end"), ("take-turns", "full"), ("side-by-side", "soak_end"), ("recreate", "soak_end")]


@pytest.mark.parametrize(("strategy", "convert_at"), WAYS)
def test_a_good_release_takes_over_step_by_step(strategy: Strategy, convert_at: ConvertAt) -> None:
    here = world(strategy, convert_at)
    here.run(ended)
    assert (here.state.serving, here.state.slots["green"].weight) == ("green", 100)
    assert set(here.loaded) == set(GREEN)
    assert here.state.past
    assert (here.state.past.outcome, here.state.past.release) == ("finished", "a")
    assert list(dict.fromkeys(here.shares)) == ([0, 100] if strategy == "recreate" else [0, 10, 30, 50, 70, 90, 100])
    assert bool(here.unserved) == (strategy == "recreate")


@pytest.mark.parametrize(
    ("phase", "strategy", "convert_at"),
    # With recreate there is nothing to be compared with before all requests go to the new release.
    [(phase, *way) for phase in ("comparing", "shifting", "soaking") for way in WAYS if (phase, way[0]) != NEVER],
)
def test_a_release_that_fails_the_judge_is_undone(phase: str, strategy: Strategy, convert_at: ConvertAt) -> None:
    here = world(strategy, convert_at, outcome=lambda state: "fail" if state.phase == phase else "pass")
    here.run(ended)
    assert (here.state.serving, set(here.loaded)) == ("blue", set(BLUE))
    assert here.state.past
    assert here.state.past.outcome == "undone"
    assert max(here.shares) <= {"comparing": 0, "shifting": 100 if strategy == "recreate" else 10}.get(phase, 100)
    if strategy != "recreate":
        assert here.unserved == 0


def test_a_release_that_never_gets_ready_stays_unexposed() -> None:
    here = world(dead={GREEN[1]})
    for _ in range(50):
        here.tick()
    assert (here.state.phase, max(here.shares), here.unserved) == ("staging", 0, 0)
    here.faults[GREEN[1]] = "vllm-green-1 has completed no request 1800 s after its start"
    here.run(ended)
    assert set(here.loaded) == set(BLUE)
    assert "vllm-green-1 has completed no request" in here.said[0]


@pytest.mark.parametrize("phase", ["staging", "comparing", "shifting", "soaking", "finishing"])
def test_it_can_be_undone_in_every_phase(phase: str) -> None:
    here = world()
    here.run(lambda state: state.phase == phase)
    for _ in range(2):
        here.tick()
    assert here.state.rollout
    here.state = replace(here.state, rollout=undo(here.state.rollout, "asked"))
    here.tick()
    # While finishing, the old release was stopped: the new one answers until it is back.
    assert here.state.slots["blue"].weight == 100 or phase == "finishing", "traffic goes back first"
    here.run(ended)
    assert (here.state.serving, set(here.loaded), here.unserved) == ("blue", set(BLUE), 0)


def test_a_new_engine_that_breaks_is_undone_at_the_next_look() -> None:
    here = world()
    here.run(lambda state: state.slots["green"].weight == 30)
    here.faults[GREEN[1]] = "vllm-green-1 refused the last 3 connections"
    here.tick()
    assert here.state.phase == "rolling_back"
    assert here.state.slots["green"].weight == 0
    here.run(ended)
    assert here.unserved == 0


def test_when_the_old_release_dies_the_new_one_has_all_and_people_are_asked() -> None:
    here = world()
    here.run(lambda state: state.slots["green"].weight == 30)
    here.faults[BLUE[0]] = "vllm-blue-0 ended"
    here.tick()
    assert (here.state.slots["green"].weight, here.state.phase) == (100, "shifting")
    assert "the old release broke" in (here.state.held or "")
    for _ in range(20):
        here.tick()
    assert here.state.held, "it goes no further by itself"
    del here.faults[BLUE[0]]
    here.tick()
    assert here.state.slots["green"].weight == 30, "the old one has its share again"
    assert here.state.rollout
    here.state = replace(here.state, rollout=resume(here.state.rollout))
    here.run(ended)
    assert here.state.serving == "green"


def test_without_a_verdict_it_holds_and_people_are_asked() -> None:
    here = world(outcome=lambda state: "inconclusive" if state.phase == "shifting" else "pass")
    here.run(lambda state: state.held is not None)
    assert (here.state.phase, here.state.slots["green"].weight) == ("shifting", 10)
    for _ in range(30):
        here.tick()
    assert here.state.slots["green"].weight == 10


def test_what_is_held_stays_and_a_fault_still_undoes_it() -> None:
    here = world()
    here.run(lambda state: state.slots["green"].weight == 50)
    assert here.state.rollout
    here.state = replace(here.state, rollout=hold(here.state.rollout, "lunch"))
    for _ in range(30):
        here.tick()
    assert here.state.slots["green"].weight == 50
    here.faults[GREEN[1]] = "it broke"
    here.run(ended)
    assert here.state.serving == "blue"


def test_one_hung_engine_is_taken_out_and_taken_in_again() -> None:
    idle = State(serving="blue", slots={"blue": OLD}, webui=Webui("blue", 18300))
    here = World(idle, dict.fromkeys(BLUE, 99))
    here.tick()
    assert here.state == idle
    here.faults[BLUE[1]] = "vllm-blue-1 has 3 requests and made no token for 50 s"
    here.tick()
    assert here.state.slots["blue"].asked == (18100,)
    here.faults.clear()
    here.loaded[BLUE[1]] = 0
    for _ in range(LOADING_TICKS + 1):
        here.tick()
    assert here.state.slots["blue"].asked == (18100, 18101)
    assert here.unserved == 0


def test_the_last_engine_is_never_taken_out() -> None:
    idle = State(serving="blue", slots={"blue": OLD}, webui=Webui("blue", 18300))
    here = World(idle, dict.fromkeys(BLUE, 99), faults=dict.fromkeys(BLUE, "hung"))
    for _ in range(5):
        here.tick()
    assert here.state.slots["blue"].asked == (18100, 18101)


@pytest.mark.parametrize("tick", range(0, 60, 3))
@pytest.mark.parametrize(("strategy", "convert_at"), WAYS[:3])
def test_a_boot_at_any_moment_ends_as_without_it(tick: int, strategy: Strategy, convert_at: ConvertAt) -> None:
    """Engines start anew; what the record says is all that is left."""
    here = world(strategy, convert_at)
    for _ in range(tick):
        here.tick()
    here.loaded = dict.fromkeys(here.loaded, 0)
    before = here.unserved
    here.run(ended)
    assert (here.state.serving, set(here.loaded)) == ("green", set(GREEN))
    assert here.unserved - before <= LOADING_TICKS


def test_only_engines_on_cards_of_the_two_releases_are_looked_at() -> None:
    assert concerned(world().state) == {*BLUE, *GREEN}


def test_a_share_that_the_new_engines_cannot_carry_is_not_taken_by_itself() -> None:
    """Two cards full of conversations at their peak, and the new release has one card: 50 % fill it."""
    here = world(conversations=2.0)
    here.run(lambda state: state.held is not None)
    assert here.state.slots["green"].weight == 50
    assert "70 % of the conversations at their peak fill 1.4 engines, and the new release has 1" in (
        here.state.held or ""
    )
    here.conversations = 0.5
    assert here.state.rollout
    here.state = replace(here.state, rollout=resume(here.state.rollout))
    here.run(ended)
    assert here.state.serving == "green"


def test_a_rollout_on_other_cards_than_those_that_serve_is_refused() -> None:
    serving = State(serving="blue", slots={"blue": OLD}, webui=Webui("blue", 18300))
    with pytest.raises(Refused, match="cards"):
        begin(serving, NEW, Rollout(Swap("blue", "green", (0, 2), "take-turns"), id="x"))
