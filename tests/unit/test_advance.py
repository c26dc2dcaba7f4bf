"""A rollout goes on only by a verdict, back by any fault, and nowhere while data is missing."""

import random
from dataclasses import replace
from typing import Any

import pytest

from tandem.domain.advance import (
    Facts,
    Pacing,
    Phase,
    Rollout,
    advance,
    finish_now,
    hold,
    move_to,
    resume,
    undo,
)
from tandem.domain.layout import Swap, wanted
from tandem.domain.refused import Refused

SWAP = Swap("blue", "green", (0, 1), "take-turns")
RECREATE = Swap("blue", "green", (0,), "recreate")
PACING = Pacing(weights=(10, 50, 100), window_seconds=60, soak_seconds=300, most_extensions=2)
START = Rollout(SWAP, PACING)
PHASES: tuple[tuple[Phase, int], ...] = (
    ("staging", 0),
    ("comparing", 0),
    ("shifting", 10),
    ("shifting", 100),
    ("soaking", 100),
)


def at(phase: Phase, weight: int, **more: Any) -> Rollout:
    return replace(START, phase=phase, weight=weight, **more)


def good(seconds: float = 60) -> Facts:
    return Facts(arrived=True, seconds=seconds, outcome="pass")


def test_a_good_release_goes_through_every_step_in_its_time() -> None:
    rollout, trace = START, []
    for _ in range(40):
        rollout, sentence = advance(rollout, good(30))
        if sentence:
            trace.append((rollout.phase, rollout.weight))
    assert trace == [
        ("comparing", 0),
        ("shifting", 10),
        ("shifting", 50),
        ("shifting", 100),
        ("soaking", 100),
        ("finishing", 100),
        ("finished", 100),
    ]


@pytest.mark.parametrize(("phase", "weight"), PHASES)
def test_nothing_moves_on_before_its_layout_is_reached(phase: Phase, weight: int) -> None:
    rollout = at(phase, weight)
    assert advance(rollout, replace(good(10**6), arrived=False)) == (rollout, "")


@pytest.mark.parametrize(("phase", "weight"), PHASES[1:])
def test_without_a_verdict_it_waits_as_long_as_windows_may_last_and_then_asks(phase: Phase, weight: int) -> None:
    rollout, waited = at(phase, weight), 0.0
    while rollout.held is None:
        rollout, sentence = advance(rollout, Facts(arrived=True, seconds=10, reasons=("12 of 50 pairs",)))
        waited += 10
        assert (rollout.phase, rollout.weight) == (phase, weight)
    own = {"comparing": 0, "shifting": 60, "soaking": 300}[phase]
    assert waited == own + 2 * 60 + (10 if own + 120 < waited else 0)
    assert "12 of 50 pairs" in rollout.held
    assert sentence == f"held: {rollout.held}"
    assert advance(rollout, good(10**6)) == (rollout, "")


@pytest.mark.parametrize(("phase", "weight"), PHASES[1:])
@pytest.mark.parametrize("held", [None, "somebody wants to look"])
def test_a_failed_verdict_undoes_it_at_once_even_while_it_is_held(phase: Phase, weight: int, held: str | None) -> None:
    rollout = at(phase, weight, held=held, spent_seconds=1.0)
    after, sentence = advance(rollout, Facts(arrived=True, outcome="fail", reasons=("7 losses against 0",)))
    assert (after.phase, after.weight, after.held) == ("rolling_back", 0, None)
    assert sentence == "rolling back: 7 losses against 0"
    assert advance(after, good())[0].phase == "undone"


@pytest.mark.parametrize(("phase", "weight"), PHASES)
@pytest.mark.parametrize("arrived", [True, False])
def test_a_fault_of_the_new_release_undoes_it_at_once(phase: Phase, weight: int, arrived: bool) -> None:
    facts = Facts(arrived=arrived, outcome="pass", seconds=10**6, new_fault="vllm-green-1 failed")
    assert advance(at(phase, weight), facts)[0].phase == "rolling_back"


@pytest.mark.parametrize("phase", ["rolling_back", "finishing"])
def test_what_is_on_its_way_out_of_a_rollout_gets_there_whatever_breaks(phase: Phase) -> None:
    rollout = at(phase, 0)
    broken = Facts(arrived=False, old_fault="x", new_fault="y")
    assert advance(rollout, broken) == (rollout, "")
    assert advance(rollout, replace(broken, arrived=True))[0].phase in ("undone", "finished")


def test_when_the_old_release_dies_all_goes_to_the_new_one_and_people_are_asked() -> None:
    dead = Facts(arrived=True, outcome="fail", old_fault="vllm-blue-0 refuses connections")
    rollout, sentence = advance(at("shifting", 10), dead)
    assert (rollout.phase, rollout.share, rollout.lean) == ("shifting", 100, "green")
    assert sentence == f"held: {rollout.held}"
    assert wanted(SWAP, rollout.phase, rollout.share).routing.weights == {"green": 100}
    assert advance(rollout, dead) == (rollout, "")
    with pytest.raises(Refused, match="Mend the old release"):
        resume(rollout)
    back, sentence = advance(rollout, good())
    assert (back.share, back.lean, back.held) == (10, None, rollout.held)
    assert "answers again" in sentence
    assert resume(back).held is None


@pytest.mark.parametrize("phase", ["staging", "comparing"])
def test_what_was_not_compared_gets_nothing_even_when_the_old_release_dies(phase: Phase) -> None:
    rollout, _ = advance(at(phase, 0), Facts(arrived=True, old_fault="vllm-blue-0 failed"))
    assert (rollout.share, rollout.lean) == (0, None)
    assert rollout.held


def test_when_both_die_it_is_held_and_nothing_is_moved() -> None:
    both = Facts(arrived=True, old_fault="blue", new_fault="green")
    rollout, _ = advance(at("shifting", 50), both)
    assert (rollout.phase, rollout.share, rollout.lean) == ("shifting", 50, None)


@pytest.mark.parametrize(("phase", "weight"), PHASES)
def test_it_can_be_undone_from_everywhere(phase: Phase, weight: int) -> None:
    assert undo(at(phase, weight, held="asked")).phase == "rolling_back"
    assert undo(at("finishing", 100)).phase == "rolling_back"
    with pytest.raises(Refused):
        undo(at("finished", 100))


def test_people_move_hold_resume_and_finish_it_by_hand() -> None:
    shifting = at("shifting", 10, spent_seconds=50.0)
    assert (move_to(shifting, 70).weight, move_to(shifting, 70).spent_seconds) == (70, 0.0)
    assert advance(move_to(shifting, 70), good())[0].weight == 100
    held = hold(shifting, "lunch")
    assert advance(held, good(10**6)) == (held, "")
    assert (resume(held).held, resume(held).spent_seconds) == (None, 0.0)
    assert resume(at("soaking", 100, spent_seconds=50.0)) == at("soaking", 100, spent_seconds=50.0)
    assert finish_now(at("soaking", 100)).phase == "finishing"
    assert move_to(at("soaking", 100), 50).weight == 50


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (lambda: move_to(at("comparing", 0), 10), "not compared yet"),
        (lambda: move_to(at("shifting", 10), 0), "undo the rollout"),
        (lambda: move_to(at("shifting", 10), 101), "not a share"),
        (lambda: move_to(replace(at("shifting", 100), swap=RECREATE), 50), "one release at a time"),
        (lambda: finish_now(at("shifting", 100)), "Move it to 100 % first"),
        (lambda: hold(at("finished", 100), "x"), "can't be steered"),
        (lambda: resume(at("rolling_back", 0)), "rolling back"),
        (lambda: undo(at("undone", 0)), "upgrade to the other release"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(refused: Any, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        refused()


@pytest.mark.parametrize("weights", [(), (10, 50), (50, 10, 100), (0, 100), (10, 10, 100)])
def test_weights_that_do_not_grow_to_all_are_refused(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must"):
        Pacing(weights=weights)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_a_share_only_grows_on_a_pass_and_an_end_stays_an_end(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    outcomes: tuple[str, ...] = ("pass", "fail", "inconclusive", "pass", "pass", "inconclusive")
    rollout = START
    for _ in range(60):
        facts = Facts(
            arrived=chance.random() < 0.8,
            seconds=chance.choice([0, 5, 70]),
            outcome=chance.choice(outcomes),
            old_fault="old" if chance.random() < 0.03 else "",
            new_fault="new" if chance.random() < 0.03 else "",
        )
        after, sentence = advance(rollout, facts)
        if after.weight > rollout.weight:
            assert (facts.outcome, facts.arrived, facts.new_fault) == ("pass", True, "")
        if after != replace(rollout, spent_seconds=after.spent_seconds):
            assert sentence
        if rollout.phase in ("finished", "undone"):
            assert after == rollout
        rollout = after


def test_a_failed_verdict_undoes_it_also_while_an_engine_is_missing() -> None:
    after, _ = advance(at("shifting", 50), Facts(arrived=False, outcome="fail", reasons=("errors",)))
    assert (after.phase, after.why) == ("rolling_back", "errors")


def test_a_fault_that_counts_on_holds_once() -> None:
    first, sentence = advance(at("shifting", 50), Facts(True, 1.0, old_fault="made no token for 121 s"))
    assert (first.lean, bool(sentence)) == ("green", True)
    assert advance(first, Facts(True, 1.0, old_fault="made no token for 122 s")) == (first, "")
    worse, sentence = advance(first, Facts(True, 1.0, old_fault="made no token for 123 s", new_fault="dead"))
    assert (worse.lean, bool(sentence)) == (None, True)
