"""An upgrade says before it begins whether there is anything to do, how, for how long, and how to go back."""

from dataclasses import replace
from typing import Any

import pytest

from tandem.config import Config, load
from tandem.domain.advance import PHASES, Comparison, Pacing, Rollout
from tandem.domain.capacity import RECREATE, SIDE_BY_SIDE, TAKE_TURNS, Assessment
from tandem.domain.layout import Strategy, Swap
from tandem.domain.option import option
from tandem.domain.refused import Refused
from tandem.domain.rollout import Past, Slot, State, Webui, planned
from tandem.domain.upgrade_changes import arguments, changes, image, revision
from tandem.domain.upgrade_choice import comparable, decide, idle_slot
from tandem.domain.upgrade_orders import steering
from tandem.domain.upgrade_plan import Plan, lines, span
from tandem.domain.upgrade_ways import Way, consented, way
from tandem.domain.way_back import why_nothing
from tandem.hostside.arguments import parser
from tandem.render.engine import engine_path, render_engine
from tandem.render.tree import File
from tandem.steps.planning import order
from tests.unit.test_capacity import GIB, RTX_4090_D_MIB, gpt_oss
from tests.unit.test_config import GOOD, changed

IMAGE = f"registry.example/vllm@sha256:{'7' * 64}"
OLD = Slot("a", "a" * 16, (18100, 18101), 100, (18100, 18101), "gpt-oss-20b", "1" * 40, IMAGE, 95.2)
NEW = Slot("b", "b" * 16, (18200, 18201), 0, (), "gpt-oss-20b", "2" * 40, IMAGE)
IDLE = State("blue", {"blue": OLD}, Webui("blue", 18300))
TURNS, BESIDE, INSTEAD = Way(TAKE_TURNS, "two cards"), Way(SIDE_BY_SIDE, "both fit"), Way(RECREATE, "one card")
ONE_CARD = [RTX_4090_D_MIB]


def under_way(phase: Any, weight: int = 0) -> State:
    rollout = Rollout(Swap("blue", "green", (0, 1), "take-turns"), phase=phase, weight=weight)
    return replace(IDLE, slots={"blue": OLD, "green": NEW}, rollout=rollout)


def plan(found: Way = TURNS, **given: Any) -> Plan:
    values: dict[str, Any] = {
        "old": OLD,
        "new": NEW,
        "changes": [],
        "cards": (0, 1),
        "convert_at": "soak_end",
        "pacing": Pacing(),
        "comparison": Comparison(),
    }
    return Plan("blue", "green", way=found, **{**values, **given})


def text(found: Way = TURNS, **given: Any) -> str:
    return "\n".join(lines(plan(found, **given)))


# What there is to do


def test_another_release_is_begun_and_the_one_that_serves_is_not() -> None:
    assert decide(IDLE, "b", "b" * 16, (0, 1)) == "begin"
    assert decide(IDLE, "b", "b" * 16, (1, 0)) == "begin"
    assert decide(IDLE, "a", "a" * 16, (0, 1)) == "nothing"
    assert decide(IDLE, "renamed", "a" * 16, (0, 1)) == "nothing"
    assert decide(IDLE, "a", "c" * 16, (0, 1)) == "begin"  # the same name, edited


def test_what_was_undone_is_begun_again_only_when_that_is_said() -> None:
    state = replace(IDLE, past=Past("id", "undone", "too slow", "2026-11-21T10:00:00+00:00", "b", "b" * 16))
    with pytest.raises(Refused) as caught:
        decide(state, "b", "b" * 16, (0, 1))
    assert "b was undone at 2026-11-21T10:00:00+00:00: too slow. Nothing was changed." in str(caught.value)
    assert "`--data again=true`" in str(caught.value)
    with pytest.raises(Refused, match="renamed, then called b, was undone at"):
        decide(state, "renamed", "b" * 16, (0, 1))
    assert decide(state, "b", "b" * 16, (0, 1), again=True) == "begin"
    assert decide(state, "b", "c" * 16, (0, 1)) == "begin"  # mended, under its old name
    assert decide(state, "a", "a" * 16, (0, 1)) == "nothing"
    finished = replace(IDLE, past=Past("id", "finished", "", "2026-11-21T10:00:00+00:00", "b", "b" * 16))
    assert decide(finished, "b", "b" * 16, (0, 1)) == "begin"  # it served before, and may come back


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "rolling_back"])
def test_the_release_under_way_goes_on_and_a_third_one_is_refused(phase: str) -> None:
    state = under_way(phase, 100 if phase in ("soaking", "finishing") else 0)
    assert decide(state, "b", "b" * 16, (0, 1)) == "continue"
    for name, digest in (("c", "c" * 16), ("b", "c" * 16), ("a", "a" * 16)):
        with pytest.raises(Refused) as caught:
            decide(state, name, digest, (0, 1))
        said = str(caught.value)
        assert f"from a to b is under way ({state.phase and state.rollout and state.rollout.weight} %" in said
        assert f"{name} is wanted. Nothing was changed." in said
        assert "deploys/rollback.py -y" in said
        assert "upgrade.py -y --data release=b" in said
        assert ("move=finish" in said) == (phase == "soaking")


def test_what_is_being_undone_is_not_begun_again_meanwhile() -> None:
    for digest in ("a" * 16, "b" * 16, "c" * 16):
        with pytest.raises(Refused, match="b is being undone"):
            decide(under_way("rolling_back"), "x", digest, (0, 1))


def test_nothing_is_upgraded_where_nothing_serves_or_the_cards_are_others() -> None:
    with pytest.raises(Refused, match="nothing serves yet"):
        decide(State(), "b", "b" * 16, (0, 1))
    with pytest.raises(Refused, match="a runs on card 0, 1 and engine/cards names 0: an upgrade keeps the cards"):
        decide(IDLE, "b", "b" * 16, (0,))


def test_the_next_release_gets_the_other_slot() -> None:
    assert (idle_slot("blue"), idle_slot("green")) == ("green", "blue")


# The way


def assessed(cards: list[int], **arguments: Any) -> Assessment:
    return gpt_oss(cards, **arguments)


@pytest.mark.parametrize(
    ("cards", "arguments", "strategy", "why"),
    [
        ([RTX_4090_D_MIB] * 2, {}, TAKE_TURNS, "20.61 and 20.61 GiB of 23.60 GiB; of the 2 cards half change first"),
        (ONE_CARD, {}, RECREATE, "20.61 and 20.61 GiB of 23.60 GiB; there is one card"),
        ([49140], {"gpu_memory_utilization": 0.4}, SIDE_BY_SIDE, "20.61 and 20.61 GiB of 47.60 GiB"),
        ([49140], {}, RECREATE, "either would not find free at its start"),
    ],
)
def test_the_way_is_the_one_that_the_cards_allow(
    cards: list[int], arguments: dict[str, Any], strategy: str, why: str
) -> None:
    one = assessed(cards, **arguments)
    found = way(one, one, range(len(cards)))
    assert found.strategy == strategy
    assert why in found.why
    assert (found.phases[0].old, found.phases[-1].new) == (one.conversations, one.conversations)


def test_what_is_not_known_never_shares_a_card() -> None:
    big = assessed([49140] * 2, gpu_memory_utilization=0.4)
    assert way(big, big, (0, 1)).strategy == SIDE_BY_SIDE
    beyond = assessed([49140] * 2, gpu_memory_utilization=0.4, kv_cache_memory_bytes=60 * GIB)
    for old, new in ((None, big), (big, None), (None, None), (beyond, big)):
        assert way(old, new, (0, 1)) == Way(TAKE_TURNS, way(old, new, (0, 1)).why)
        assert way(old, new, (0,)).strategy == RECREATE


def test_a_release_that_cannot_start_is_refused_with_its_numbers() -> None:
    with pytest.raises(Refused, match="does not fit: with weights and overhead a card needs"):
        way(assessed(ONE_CARD), assessed(ONE_CARD, kv_cache_memory_bytes=20 * GIB), (0,))


def test_a_gap_needs_consent_and_is_refused_with_its_numbers() -> None:
    one = assessed([49140])
    found = way(one, one, (0,))
    with pytest.raises(Refused) as caught:
        consented(found, False, "a", "b", plan(found).gap)
    said = str(caught.value)
    assert "about 95 s, until b has started" in said
    assert "20.61 and 20.61 GiB of 47.60 GiB" in said
    assert "Nothing was changed. Either set upgrade/allow_gap to True" in said
    assert "kv-cache-memory-bytes at most" in said
    consented(found, True, "a", "b", "")
    consented(TURNS, False, "a", "b", "")
    consented(BESIDE, False, "a", "b", "")


def test_what_would_avoid_the_gap_does_avoid_it() -> None:
    advice = way(assessed([49140]), assessed([49140]), (0,)).advice.split()
    sizes = {"kv_cache_memory_bytes": int(advice[3]), "gpu_memory_utilization": float(advice[-1])}
    small = assessed([49140], **sizes)
    assert way(small, small, (0,)).strategy == SIDE_BY_SIDE


# The lines


def test_both_releases_stand_side_by_side_and_what_is_the_same_is_said_once() -> None:
    said = text(changes=["- --max-model-len 1", "+ --max-model-len 2"]).splitlines()
    assert said[0] == "upgrade: b takes the place of a"
    assert said[1].split() == ["old:", "a", "new:", "b"]
    assert said[2].split() == ["digest", "a" * 16, "b" * 16]
    assert said[3].split() == ["slot", "blue", "green"]
    assert said[4].split() == ["image", "registry.example/vllm@sha256:777777777777", "the", "same"]
    assert said[5].split() == ["model", "files", "1" * 12, "2" * 12]
    assert said[6:9] == ["  changed in the engine:", "    - --max-model-len 1", "    + --max-model-len 2"]
    assert "  changed in the engine: nothing" in text()


def test_every_phase_has_its_time() -> None:
    pacing = Pacing((10, 50, 100), window_seconds=3600, soak_seconds=7200, most_extensions=2)
    rows = dict(line.split(maxsplit=1) for line in text(pacing=pacing).splitlines() if line.startswith("  "))
    assert rows["comparing"].split(maxsplit=2)[2] == "at least 10.8 min"
    assert rows["shifting"].endswith("10, 50, 100 %  60 min each, 3 h in all")
    assert rows["soaking"].endswith("100 %          2 h")
    assert rows["staging"].endswith(
        "the answers on card 1 end, its engine stops; b starts: about 95 s (as measured of a)"
    )
    assert rows["finishing"].endswith("a stops, b starts on card 0 too: about 95 s (as measured of a)")
    assert "in all about 5.2 h and the starts of engines" in text(pacing=pacing)
    assert "made longer, 2 times at most" in text(pacing=pacing)


def test_a_window_is_never_said_to_be_shorter_than_its_pairs_take() -> None:
    pacing = Pacing((100,), window_seconds=5)
    assert plan(pacing=pacing, comparison=Comparison(pair_seconds=3)).window_seconds == 150
    assert plan(pacing=pacing, comparison=Comparison(pair_seconds=0.01)).window_seconds == 5


def test_the_time_to_go_back_follows_from_what_stays_ready_and_from_what_was_measured() -> None:
    for found in (TURNS, BESIDE):
        assert "rollback until the soak ends: below 1 s, engines of a stay ready" in text(found)
    assert "rollback before 100 %: below 1 s; from then on the start of a, 95 s (measured)" in text(convert_at="full")
    assert "below 1 s" in text(BESIDE, convert_at="full")
    gap = text(INSTEAD)
    assert "rollback, at any moment: the start of a, 95 s (measured), while nothing is served" in gap
    assert "NOTHING IS SERVED for about 95 s, until b has started" in gap
    assert "below 1 s" not in gap
    unknown = text(INSTEAD, old=replace(OLD, start_seconds=None))
    assert "the start of a, 5 to 15 min (never measured here)" in unknown
    assert "95 s" not in unknown
    for said in (text(), gap, unknown):
        assert "rollback after the finish: an upgrade back to a, without download" in said


def test_a_release_that_ran_here_before_is_planned_with_its_own_time() -> None:
    assert "b starts: 42 s (measured)" in text(new=replace(NEW, start_seconds=42.0))


def test_a_release_that_was_undone_says_so_when_it_comes_again() -> None:
    past = Past("1", "undone", "answers: case sums fails", "2026-11-20", "b", NEW.digest)
    assert "b was undone before, at 2026-11-20: answers: case sums fails" in text(past=past)
    assert "undone before" not in text(past=replace(past, digest="c" * 16))
    assert "undone before" not in text(past=replace(past, outcome="finished"))


def test_what_to_type_to_hold_move_and_undo_is_said() -> None:
    for words in ("upgrade.py -y --data move=hold", "move=50", "move=resume", "move=finish", "rollback.py -y"):
        assert words in text()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "below 1 s"), (1, "1 s"), (95.2, "95 s"), (650, "10.8 min"), (86400, "24 h"), (259200, "3 days")],
)
def test_spans_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("b", "release=b"),
        ("2026.11", "'release=\"2026.11\"'"),
        ("007", "'release=\"007\"'"),
        ("true", "'release=\"true\"'"),
        ("2026.11.1", "release=2026.11.1"),
    ],
)
def test_a_name_that_would_be_read_as_a_number_is_quoted(name: str, words: str) -> None:
    assert option(name) == words


def test_too_few_cases_to_ever_decide_are_refused_before_anything_is_touched() -> None:
    comparable(7, 7)
    with pytest.raises(Refused, match=r"there are 3 cases, and least_cases is 7.* Nothing was changed"):
        comparable(3, 7)


# What the host is told


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, ["move", "--weight", "1"]),
        (100, ["move", "--weight", "100"]),
        ("hold", ["hold", "--why=lunch"]),
        ("resume", ["resume"]),
        ("finish", ["finish"]),
    ],
)
def test_a_rollout_is_steered_by_a_share_or_a_word(value: object, words: list[str]) -> None:
    assert steering(value, "lunch") == words
    assert steering("hold") == ["hold"]
    assert parser().parse_args(["upgrade", *steering("hold", "-5% right answers")]).why == "-5% right answers"
    assert parser().parse_args(["upgrade", *steering("hold", "-slow")]).why == "-slow"


@pytest.mark.parametrize("value", [0, 101, -1, 5.5, 50.0, True, "backwards", "50", [1], None])
def test_what_is_no_way_to_steer_is_refused(value: object) -> None:
    with pytest.raises(Refused, match=r"is not known. Nothing was changed. Give a share from 1 to 100, hold, resume"):
        steering(value)


@pytest.mark.parametrize("strategy", ["take-turns", "side-by-side", "recreate"])
def test_the_order_is_one_that_the_host_takes(strategy: Strategy) -> None:
    told = plan(Way(strategy, ""), pacing=Pacing((50, 100), 5.0, 6.0, 1), comparison=Comparison(hang_seconds=9.0))
    sent = order(told, allow_gap=True)
    rollout = planned("blue", sent["slot"], tuple(sent["cards"]), sent, "1", "operator")
    assert rollout.swap == Swap("blue", "green", (0, 1), strategy)
    assert (rollout.pacing, rollout.comparison) == (told.pacing, told.comparison)
    assert (sent["release"], sent["digest"], sent["revision"], sent["image"], sent["model"]) == (
        "b", NEW.digest, NEW.revision, IMAGE, "gpt-oss-20b"
    )  # fmt: skip
    assert sent["allow_gap"] is True


# What changed in the engine


def unit(config: Config) -> str:
    entry = render_engine(config, "blue").entries[engine_path("blue", 0)]
    assert isinstance(entry, File)
    return entry.content


def test_changed_options_and_variables_are_told_from_the_units_themselves() -> None:
    release = {**GOOD["releases"]["a"], "arguments": {"max-model-len": 8192, "enforce-eager": True, "seed": 0}}
    old = unit(load(changed("releases/a", {**release, "environment": {"OMP_NUM_THREADS": "1"}}), host="gpu1"))
    release["arguments"] = {"max-model-len": 4096, "enforce-eager": True, "chat-template": "100 % $HOME 'x'"}
    new = unit(load(changed("releases/a", {**release, "environment": {"OMP_NUM_THREADS": "2"}}), host="gpu1"))
    assert changes(old, new) == [
        "+ --chat-template 100 % $HOME 'x'",
        "- --max-model-len 8192",
        "+ --max-model-len 4096",
        "- --seed 0",
        "- OMP_NUM_THREADS=1",
        "+ OMP_NUM_THREADS=2",
    ]
    assert changes(old, old) == []
    known = arguments(old)
    assert (known["max-model-len"], known["enforce-eager"]) == ("8192", True)
    assert image(old) == release["image"]
    assert revision(old) == "0" * 40


def test_other_settings_of_the_unit_are_told_and_a_missing_unit_is_said() -> None:
    old = unit(load(GOOD, host="gpu1"))
    new = unit(load(changed("engine/shared_memory_mib", 2048), host="gpu1"))
    assert changes(old, new) == ["- ShmSize=1024m", "+ ShmSize=2048m"]
    assert changes(old, unit(load(changed("releases/a/image", IMAGE), host="gpu1"))) == []
    assert changes("", new) == ["not known: the unit of the old release is not on the host"]


# Back, where no rollout is under way


def test_after_the_finish_the_way_back_is_named_with_its_time() -> None:
    past = Past("1", "finished", "", "2026-11-20", "2026.11", "c" * 16, start_seconds=95.0)
    said = why_nothing(replace(IDLE, past=past))
    assert "release a serves since 2026-11-20" in said
    assert "upgrade.py -y --data 'release=\"2026.11\"'`, without download; its start takes 95 s" in said
    assert "its start takes minutes" in why_nothing(replace(IDLE, past=replace(past, start_seconds=None)))


def test_without_an_upgrade_or_after_an_undone_one_nothing_is_left_to_undo() -> None:
    assert why_nothing(State()) == "nothing to undo: nothing serves yet"
    assert why_nothing(IDLE) == "nothing to undo: release a serves, and no upgrade took place"
    undone = Past("1", "undone", "5 of 65 requests failed", "2026-11-20", "b", "b" * 16)
    assert why_nothing(replace(IDLE, past=undone)) == (
        "nothing to undo: release a serves; the upgrade to b was undone at 2026-11-20 (5 of 65 requests failed)"
    )
