import json
import os
from pathlib import Path

import pytest

from tandem.domain.rollout import Refused, Slot, State, Webui, adopt
from tandem.hostside import state as record
from tandem.hostside.files import append_line, write_atomic
from tandem.hostside.paths import Paths

BLUE = Slot("2026.11", "aaaaaaaaaaaaaaaa", (18100, 18101), 100)
SERVING = State(serving="blue", slots={"blue": BLUE}, webui=Webui("blue", 18300))


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
    state, sentence = adopt(SERVING, "blue", Slot("november", BLUE.digest, BLUE.engine_ports, 100), 18300)
    assert state.current == Slot("november", BLUE.digest, BLUE.engine_ports, 100)
    assert sentence == "release 2026.11 is now called november"


def test_the_webui_that_answers_stays_when_the_same_release_is_installed_again() -> None:
    elsewhere = State(serving="blue", slots={"blue": BLUE}, webui=Webui("green", 18400))
    assert adopt(elsewhere, "blue", BLUE, 18300)[0].webui == Webui("green", 18400)


@pytest.mark.parametrize("phase", ["staging", "comparing", "shifting", "soaking", "finishing", "rolling_back"])
def test_install_keeps_out_of_a_rollout(phase: str) -> None:
    during = State(phase, "blue", {"blue": BLUE}, Webui("blue", 18300))
    with pytest.raises(Refused, match=f"state {phase}"):
        adopt(during, "blue", BLUE, 18300)


def test_the_same_release_at_other_ports_is_refused() -> None:
    with pytest.raises(Refused, match=r"18100, 18101.*says 18100 for"):
        adopt(SERVING, "blue", Slot("2026.11", BLUE.digest, (18100,), 100), 18300)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"phase": "resting"}, "resting"),
        ({"serving": "green"}, "holds no release"),
        ({"serving": None}, "together"),
        ({"webui": None}, "together"),
        ({"slots": {"red": BLUE}, "serving": "red"}, "'red'"),
        ({"slots": {"blue": Slot("a", "b", (1,), 90)}}, "100 %"),
    ],
)
def test_what_cannot_be_is_no_state(changes: dict[str, object], problem: str) -> None:
    fields = {"phase": "idle", "serving": "blue", "slots": {"blue": BLUE}, "webui": Webui("blue", 18300), "held": None}
    with pytest.raises(ValueError, match=problem):
        State(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_state_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "var" / "state.json"
    assert record.load(path) == State()
    for state in (SERVING, SERVING, State()):
        record.save(path, state)
        assert record.load(path) == state
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]
    assert json.loads(path.read_text())["schema"] == 1


def test_a_newer_record_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"schema": 2, "anything": true}')
    with pytest.raises(Refused, match=r"newer Tandem \(schema 2, this one knows 1\)"):
        record.load(path)
    assert path.read_text() == '{"schema": 2, "anything": true}'


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
