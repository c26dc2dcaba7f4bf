import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.domain.advance import Comparison, Pacing, Rollout
from tandem.domain.layout import Engine, Routing, Swap
from tandem.domain.rollout import Refused, Slot, State, Webui, adopt, begin, over, planned, routed, routing
from tandem.hostside import state as record
from tandem.hostside.files import append_line, write_atomic
from tandem.hostside.paths import Paths

BLUE = Slot("2026.11", "aaaaaaaaaaaaaaaa", (18100, 18101), 100, (18100, 18101), "gpt-oss-20b", "r1", "engine@sha256:1")
GREEN = Slot("2026.12", "bbbbbbbbbbbbbbbb", (18200, 18201), 0, (), "gpt-oss-20b", "r2", "engine@sha256:2")
SERVING = State(serving="blue", slots={"blue": BLUE}, webui=Webui("blue", 18300))
ROLLOUT = Rollout(Swap("blue", "green", (0, 1), "take-turns"), id="20261121-120000-2026.12", who="maria")
BEGUN = begin(SERVING, GREEN, ROLLOUT)


def test_the_first_install_serves_from_its_slot_with_all_requests() -> None:
    state, sentence = adopt(State(), "blue", BLUE, 18300)
    assert state == SERVING
    assert sentence == "release 2026.11 (aaaaaaaaaaaaaaaa) serves from blue"


def test_the_same_release_again_changes_nothing() -> None:
    state, sentence = adopt(SERVING, "blue", BLUE, 18300)
    assert state is SERVING
    assert "nothing to do" in sentence


def test_another_release_is_left_to_an_upgrade() -> None:
    state, sentence = adopt(SERVING, "blue", Slot("2026.12", "bbbbbbbb", (18100, 18101), 100), 18300)
    assert state is SERVING
    assert "2026.11" in sentence
    assert "2026.12" in sentence
    assert "upgrade is due" in sentence


def test_a_release_that_was_only_renamed_keeps_its_place() -> None:
    state, sentence = adopt(SERVING, "blue", replace(BLUE, release="november"), 18300)
    assert state.current == replace(BLUE, release="november")
    assert sentence == "release 2026.11 is now called november"


def test_the_webui_that_answers_stays_when_the_same_release_is_installed_again() -> None:
    elsewhere = State(serving="blue", slots={"blue": BLUE}, webui=Webui("green", 18400))
    assert adopt(elsewhere, "blue", BLUE, 18300)[0].webui == Webui("green", 18400)


@pytest.mark.parametrize("phase", ["staging", "comparing", "shifting", "soaking", "finishing", "rolling_back"])
def test_install_keeps_out_of_a_rollout(phase: str) -> None:
    during = replace(BEGUN, rollout=replace(ROLLOUT, phase=phase))  # type: ignore[arg-type]
    with pytest.raises(Refused, match=f"state {phase}"):
        adopt(during, "blue", BLUE, 18300)


def test_the_same_release_at_other_ports_is_refused() -> None:
    with pytest.raises(Refused, match=r"18100, 18101.*says 18100 for"):
        adopt(SERVING, "blue", Slot("2026.11", BLUE.digest, (18100,), 100), 18300)


def test_a_rollout_begins_without_a_request_for_the_new_release() -> None:
    assert BEGUN.phase == "staging"
    assert routing(BEGUN) == Routing({"blue": 100}, frozenset({Engine("blue", 0), Engine("blue", 1)}))
    assert BEGUN.serving == "blue"


@pytest.mark.parametrize(
    ("state", "new", "rollout", "problem"),
    [
        (State(), GREEN, ROLLOUT, "nothing serves yet"),
        (BEGUN, GREEN, ROLLOUT, "a rollout to 2026.12 is under way"),
        (SERVING, replace(GREEN, digest=BLUE.digest), ROLLOUT, "serves already"),
        (SERVING, replace(GREEN, model="another"), ROLLOUT, "clients ask for 'gpt-oss-20b'"),
        (SERVING, replace(GREEN, weight=10, asked=(18200,)), ROLLOUT, "can't begin"),
        (SERVING, GREEN, replace(ROLLOUT, swap=Swap("green", "blue", (0, 1), "take-turns")), "can't begin"),
    ],
    ids=["nothing serves", "a third", "the same", "another name", "asked already", "wrong way round"],
)
def test_a_rollout_that_cannot_be_is_refused(state: State, new: Slot, rollout: Rollout, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        begin(state, new, rollout)


def test_what_the_router_is_to_ask_is_recorded_and_read_back() -> None:
    wanted = Routing({"blue": 70, "green": 30}, frozenset({Engine("blue", 0), Engine("green", 1)}))
    after = routed(BEGUN, wanted)
    assert routing(after) == wanted
    assert (after.slots["blue"].asked, after.slots["green"].asked) == ((18100,), (18201,))
    assert after.slots["blue"].engine_ports == BLUE.engine_ports


@pytest.mark.parametrize(
    ("phase", "stays", "goes"), [("finished", "green", BLUE), ("undone", "blue", GREEN)], ids=["finished", "undone"]
)
def test_after_a_rollout_one_release_is_left_and_the_other_is_remembered(phase: str, stays: str, goes: Slot) -> None:
    alone = routed(BEGUN, Routing({stays: 100}, frozenset({Engine(stays, 0), Engine(stays, 1)})))
    ended = over(replace(alone, rollout=replace(ROLLOUT, phase=phase, why="because")), "2026-11-21")  # type: ignore[arg-type]
    assert (ended.serving, list(ended.slots), ended.phase) == (stays, [stays], "idle")
    past = ended.past
    assert past
    assert (past.outcome, past.why, past.release, past.image, past.id) == (
        phase, "because", goes.release, goes.image, ROLLOUT.id
    )  # fmt: skip


def test_a_rollout_under_way_is_not_over() -> None:
    with pytest.raises(ValueError, match="no rollout is over"):
        over(BEGUN, "2026-11-21")


ORDER = {
    "strategy": "take-turns",
    "convert_at": "full",
    "pacing": {"weights": [50, 100], "window_seconds": 5, "soak_seconds": 6, "most_extensions": 1},
    "comparison": {"pair_seconds": 0.1, "limits_seconds": {"total_seconds": 9.0}},
}


def test_an_order_becomes_a_rollout() -> None:
    made = planned("blue", "green", (0, 1), ORDER, "id", "maria")
    assert made.swap == Swap("blue", "green", (0, 1), "take-turns", "full")
    assert made.pacing == Pacing((50, 100), 5, 6, 1)
    assert made.comparison == Comparison(pair_seconds=0.1, limits_seconds={"total_seconds": 9.0})


@pytest.mark.parametrize(
    "change",
    [{"strategy": "hope"}, {"convert_at": "never"}, {"pacing": {"weights": [50]}}, {"comparison": {"luck": 1}}],
)
def test_an_order_that_is_none_is_no_rollout(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        planned("blue", "green", (0, 1), {**ORDER, **change}, "id", "maria")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"serving": "green"}, "holds no release"),
        ({"serving": None}, "together"),
        ({"webui": None}, "together"),
        ({"slots": {"red": BLUE}, "serving": "red"}, "'red'"),
        ({"slots": {"blue": replace(BLUE, weight=90)}}, "100 %"),
        ({"slots": {"blue": replace(BLUE, asked=())}}, "no engine that is asked"),
        ({"slots": {"blue": BLUE, "green": GREEN}}, "there is no rollout"),
        ({"rollout": ROLLOUT}, "between the two slots"),
    ],
)
def test_what_cannot_be_is_no_state(changes: dict[str, object], problem: str) -> None:
    fields = {"serving": "blue", "slots": {"blue": BLUE}, "webui": Webui("blue", 18300)}
    with pytest.raises(ValueError, match=problem):
        State(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_state_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "var" / "state.json"
    assert record.load(path) == State()
    shifting = replace(
        ROLLOUT,
        phase="shifting",
        weight=30,
        held="asked",
        comparison=planned("blue", "green", (0, 1), ORDER, "i", "m").comparison,
    )
    ended = over(replace(BEGUN, rollout=replace(ROLLOUT, phase="undone")), "2026-11-21")
    for state in (SERVING, SERVING, State(), BEGUN, replace(BEGUN, rollout=shifting), ended):
        record.save(path, state)
        assert record.load(path) == state
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]
    assert json.loads(path.read_text())["schema"] == 2


def test_a_record_of_the_first_schema_is_still_read(tmp_path: Path) -> None:
    slot = {"release": "a", "digest": "d", "engine_ports": [18100, 18101], "weight": 100}
    old = {"schema": 1, "state": "idle", "serving": "blue", "slots": {"blue": slot}, "held": None}
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**old, "webui": {"slot": "blue", "port": 18300}}))
    found = record.load(path)
    assert found.slots["blue"] == Slot("a", "d", (18100, 18101), 100, (18100, 18101))
    assert (found.phase, found.past) == ("idle", None)


def test_a_newer_record_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"schema": 3, "anything": true}')
    with pytest.raises(Refused, match=r"newer Tandem \(schema 3, this one knows 2\)"):
        record.load(path)
    assert path.read_text() == '{"schema": 3, "anything": true}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": "1"}', '{"schema": 1}', '{"schema": 0}'],
)
def test_a_damaged_record_is_refused_with_the_way_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(Refused, match=r"damaged: .+ nothing was changed.*history\.jsonl"):
        record.load(path)


def test_a_record_with_an_unknown_part_is_refused(tmp_path: Path) -> None:
    whole = record.to_record(SERVING)
    whole["slots"]["blue"]["surprise"] = 1
    (tmp_path / "state.json").write_text(json.dumps(whole))
    with pytest.raises(Refused, match="surprise"):
        record.load(tmp_path / "state.json")


def test_the_intent_stands_before_the_change_and_the_result_after(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with record.recorded(paths, "adopt", "maria", State(), SERVING):
        assert [entry["event"] for entry in _history(paths)] == ["intent"]
    intent, result = _history(paths)
    assert intent["id"] == result["id"]
    assert result["outcome"] == "done"
    assert record.from_record(result["state"]) == SERVING
    assert intent["boot_id"] == result["boot_id"]
    assert 0 < intent["boot_seconds"] <= result["boot_seconds"]


def test_a_change_that_fails_is_recorded_without_the_words_of_its_error(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with pytest.raises(OSError, match="sk-secret"), record.recorded(paths, "adopt", "maria", State(), SERVING):
        raise OSError("sk-secret")
    assert _history(paths)[1]["outcome"] == "failed"
    assert "sk-secret" not in paths.history.read_text()


def test_a_torn_last_line_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"whole": 1}\n{"torn')
    append_line(path, '{"whole": 2}')
    append_line(path, '{"whole": 3}')
    assert path.read_text() == '{"whole": 1}\n{"torn\n{"whole": 2}\n{"whole": 3}\n'


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text, mode in (("one\n", "0600"), ("two\n", "0640"), ("two\n", "0640")):
        write_atomic(path, text, mode, os.geteuid(), os.getegid())
        assert path.read_text() == text
        assert f"{path.stat().st_mode & 0o7777:04o}" == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800", "0600", os.geteuid(), os.getegid())
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def _history(paths: Paths) -> list[dict[str, object]]:
    return [json.loads(line) for line in paths.history.read_text().splitlines()]
