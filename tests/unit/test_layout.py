"""From any layout to any other, one move at a time, on an imitated host whose engines take time and may die."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tandem.domain.layout import (
    STAGED,
    Engine,
    Layout,
    Move,
    Route,
    Routing,
    Seen,
    Start,
    Stop,
    Strategy,
    Stuck,
    Swap,
    Wait,
    next_move,
    wanted,
)

CARDS = (0, 1)
OLD = frozenset({Engine("blue", 0), Engine("blue", 1)})
SERVING = Layout(OLD, Routing({"blue": 100}, OLD))
PHASES = [
    ("staging", 0),
    ("comparing", 0),
    *(("shifting", weight) for weight in (10, 50, 100)),
    ("soaking", 100),
    ("finishing", 100),
    ("rolling_back", 0),
]
SWAPS = [
    Swap("blue", "green", CARDS, "take-turns"),
    Swap("blue", "green", CARDS, "take-turns", convert_at="full"),
    Swap("blue", "green", CARDS, "side-by-side"),
    Swap("blue", "green", (0, 1, 2, 3), "take-turns"),
    Swap("blue", "green", (0,), "side-by-side"),
]
SAME_CARDS = "two engines on one card"


@dataclass
class Host:
    """Does what it is told at once, but for engines, which are ready when they were waited for."""

    swap: Swap
    layout: Layout
    ready: set[Engine] = field(default_factory=set)
    done: list[Move] = field(default_factory=list)

    def seen(self) -> Seen:
        return Seen(self.layout, frozenset(self.ready))

    def carry_out(self, move: Move) -> None:
        self.done.append(move)
        running, routing = self.layout.running, self.layout.routing
        match move:
            case Route(routing):
                assert routing.engines <= running, "an engine is asked that does not run"
            case Stop(engine):
                assert engine not in routing.engines, "an engine is stopped that is asked"
                running -= {engine}
                self.ready.discard(engine)
            case Start(engine):
                cards = [one.card for one in running]
                assert self.swap.shares_cards or engine.card not in cards, SAME_CARDS
                running |= {engine}
            case Wait(engines):
                assert engines
                self.ready |= set(engines)
            case Stuck():
                raise AssertionError(f"stuck: {move} at {self.layout}, ready {self.ready}")
        self.layout = Layout(running, routing)


def serving(swap: Swap) -> Host:
    engines = frozenset(Engine(swap.old, card) for card in swap.cards)
    return Host(swap, Layout(engines, Routing({swap.old: 100}, engines)), set(engines))


def go(host: Host, phase: str, weight: int, gap: bool = False, watch: Callable[[Host], None] | None = None) -> None:
    target = wanted(host.swap, phase, weight)
    for _ in range(60):
        move = next_move(host.seen(), target, host.swap.shares_cards, gap)
        if move is None:
            return
        host.carry_out(move)
        if watch:
            watch(host)
    raise AssertionError(f"no end: {host.done[-6:]}")


def still_served(host: Host) -> None:
    asked = host.layout.routing
    assert asked.engines & host.ready, f"nobody ready is asked after {host.done[-1]}"
    for slot in asked.weights:
        assert {one for one in asked.engines & host.ready if one.slot == slot}


def name(swap: Swap) -> str:
    return f"{swap.strategy} {len(swap.cards)} {swap.convert_at}"


@pytest.fixture(params=SWAPS, ids=name)
def swap(request: pytest.FixtureRequest) -> Swap:
    found: Swap = request.param
    return found


def test_a_whole_upgrade_serves_at_every_moment_and_ends_with_the_new_release_alone(swap: Swap) -> None:
    host = serving(swap)
    for phase, weight in PHASES[:-1]:
        go(host, phase, weight, watch=still_served)
        reached = wanted(swap, phase, weight)
        assert (host.layout.routing, host.layout.running) == (reached.routing, reached.running)
        done = len(host.done)
        go(host, phase, weight)
        assert len(host.done) == done, "a second time there was something to do"
    new = frozenset(Engine("green", card) for card in swap.cards)
    assert host.layout == Layout(new, Routing({"green": 100}, new))


@pytest.mark.parametrize(("before", "weight"), PHASES)
def test_rolling_back_from_every_phase_gives_all_traffic_to_the_old_release_first(
    swap: Swap, before: str, weight: int
) -> None:
    host = serving(swap)
    go(host, before, weight)
    ready_old = {one for one in host.ready if one.slot == swap.old}
    start = len(host.done)
    go(host, "rolling_back", 0, watch=still_served)
    if ready_old and host.done[start:]:
        first = host.done[start]
        moved = isinstance(first, Route) and first.routing.weights == {swap.old: 100}
        assert moved or before in STAGED, f"first {first}"
    assert host.layout == serving(swap).layout


def test_what_was_not_compared_is_never_asked_not_even_as_a_stand_by(swap: Swap) -> None:
    host = serving(swap)
    for phase in STAGED:
        go(host, phase, 0, watch=lambda seen: _only(seen, swap.old))
        assert {one.slot for one in host.layout.running} == {swap.old, swap.new}


def _only(host: Host, slot: str) -> None:
    assert {one.slot for one in host.layout.routing.engines} == {slot}


def interrupted(host: Host, chance: random.Random) -> Iterator[tuple[str, int]]:
    """Phases as a rollout can have them, each left after some moves by chance: whoever made them died."""
    past = "rolling_back"
    for _ in range(12):
        later = [one for one in PHASES[:-2] if one[0] != "staging" and (past != "staging" or one[0] != "soaking")]
        phase, weight = chance.choice([("rolling_back", 0), *(PHASES[:1] if past == "rolling_back" else later)])
        past = phase
        target = wanted(host.swap, phase, weight)
        for _ in range(chance.randrange(8)):
            move = next_move(host.seen(), target, host.swap.shares_cards)
            if move is None:
                break
            host.carry_out(move)
            still_served(host)
        yield phase, weight


@pytest.mark.parametrize("seed", range(40))
def test_left_off_anywhere_and_sent_anywhere_else_it_serves_and_arrives(swap: Swap, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    host = serving(swap)
    for _ in interrupted(host, chance):
        pass
    for phase, weight in (("rolling_back", 0), ("finishing", 100)):
        go(host, phase, weight, watch=still_served)
        reached = wanted(swap, phase, weight)
        assert (host.layout.routing, host.layout.running) == (reached.routing, reached.running)


def test_a_host_that_booted_has_nothing_ready_and_asks_what_it_asked() -> None:
    swap = SWAPS[0]
    host = serving(swap)
    go(host, "shifting", 50)
    asked = host.layout.routing
    host.ready.clear()
    go(host, "shifting", 50)
    assert host.layout.routing == asked
    assert not [move for move in host.done[-3:] if isinstance(move, Stop)]


def test_when_the_new_engine_dies_rolling_back_does_not_wait_for_it() -> None:
    host = serving(SWAPS[0])
    go(host, "shifting", 50)
    host.ready.discard(Engine("green", 1))
    start = len(host.done)
    go(host, "rolling_back", 0)
    assert host.done[start] == Route(Routing({"blue": 100}, frozenset({Engine("blue", 0)})))
    assert Wait((Engine("green", 1),)) not in host.done[start:]


def test_when_the_old_engine_is_dead_rolling_back_keeps_the_new_one_until_the_old_one_answers() -> None:
    host = serving(SWAPS[0])
    go(host, "shifting", 50)
    go(host, "soaking", 100)
    host.ready.discard(Engine("blue", 0))
    start = len(host.done)
    go(host, "rolling_back", 0, watch=still_served)
    assert host.done[start] == Wait((Engine("blue", 0),))


def test_recreate_serves_nothing_only_with_consent_and_only_once_it_can_not_be_helped() -> None:
    swap = Swap("blue", "green", (0,), "recreate")
    host = serving(swap)
    target = wanted(swap, "staging")
    assert isinstance(next_move(host.seen(), target, swap.shares_cards), Stuck)
    go(host, "staging", 0, gap=True)
    assert host.done[0] == Route(Routing())
    assert [type(move) for move in host.done[1:]] == [Stop, Start, Wait]
    go(host, "finishing", 100)
    new = frozenset({Engine("green", 0)})
    assert host.layout == Layout(new, Routing({"green": 100}, new))
    go(host, "rolling_back", 0, gap=True)
    assert host.layout == serving(swap).layout


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Routing({"blue": 50}, OLD), "not shares of 100 %"),
        (lambda: Routing({"blue": 90, "green": 10}, OLD), "slot green has 10 % and no engine"),
        (lambda: Routing({}, OLD), "no slot has a share"),
        (lambda: Routing({"blue": 110, "green": -10}, OLD), "not shares of 100 %"),
        (lambda: Swap("blue", "green", (0,), "take-turns"), "needs two cards"),
        (lambda: wanted(SWAPS[0], "idle"), "'idle' is no phase of a rollout"),
        (lambda: wanted(SWAPS[0], "shifting", 101), "not a share between"),
    ],
)
def test_what_can_not_be_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("strategy", ["take-turns", "side-by-side"])
def test_while_shifting_the_slot_without_a_share_stands_by(strategy: Strategy) -> None:
    layout = wanted(Swap("blue", "green", CARDS, strategy), "soaking")
    assert layout.routing.weights == {"green": 100}
    assert {engine.slot for engine in layout.routing.engines} == {"blue", "green"}


def test_room_is_made_by_the_engine_that_does_not_answer() -> None:
    host = serving(SWAPS[0])
    host.ready.discard(Engine("blue", 1))
    first = next_move(host.seen(), wanted(SWAPS[0], "finishing"), False)
    assert first == Route(Routing({"blue": 100}, frozenset({Engine("blue", 0)})))
