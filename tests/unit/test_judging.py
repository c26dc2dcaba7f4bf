"""The step that is under way is judged by what was recorded of it, also where the old release is not there any more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.advance import Comparison, Pacing, Phase, Rollout
from tandem.domain.judge import judge
from tandem.domain.layout import ConvertAt, Strategy, Swap
from tandem.domain.rollout import Slot, State, Webui
from tandem.hostside import judging
from tandem.hostside.judging import Judging
from tandem.hostside.paths import Paths
from tandem.hostside.router_log import Counted

ANSWER: dict[str, Any] = {
    "first_token_seconds": 0.1,
    "total_seconds": 1.0,
    "token_gap_seconds": 0.01,
    "error": None,
    "failed": [],
}
LIMITS = {"first_token_seconds": 5.0, "total_seconds": 60.0, "token_gap_seconds": 0.25}


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judging:
    monkeypatch.setattr("tandem.hostside.router_log.RouterLog.read", lambda _: None)
    paths = Paths(tmp_path)
    paths.prober.mkdir(parents=True)
    return Judging(paths)


def state(
    phase: Phase, weight: int, strategy: Strategy, convert_at: ConvertAt, cards: tuple[int, ...] = (0, 1)
) -> State:
    ports = {"blue": tuple(18100 + card for card in cards), "green": tuple(18200 + card for card in cards)}
    slots = {
        name: Slot(name, name * 4, ports[name], share, ports[name] if share else ())
        for name, share in (("blue", 100 - weight), ("green", weight))
    }
    rollout = Rollout(
        Swap("blue", "green", cards, strategy, convert_at),
        Pacing(),
        phase,
        weight,
        id="x",
        step=3,
        comparison=Comparison(limits_seconds=LIMITS),
    )
    return State("blue", slots, Webui("blue", 18300), rollout)


def record(judged: Judging, count: int, **more: Any) -> None:
    line: Mapping[str, Any] = {
        **{"step": 3, "critical": False, "graded": True, "busy": [1, 1], "old": ANSWER, "new": ANSWER},
        **more,
    }
    with (judged.paths.prober / "x.jsonl").open("a") as file:
        for number in range(count):
            file.write(json.dumps({"case": f"case-{number % 10}", **line}) + "\n")


@pytest.mark.parametrize(
    ("phase", "weight", "strategy", "convert_at"),
    [
        ("comparing", 0, "recreate", "soak_end"),
        ("shifting", 50, "recreate", "soak_end"),
        ("shifting", 100, "take-turns", "full"),
        ("soaking", 100, "take-turns", "full"),
    ],
)
def test_a_step_without_an_old_engine_can_pass(
    judged: Judging, phase: Phase, weight: int, strategy: Strategy, convert_at: ConvertAt
) -> None:
    record(judged, 70, old=None)
    # In recreate the new release has all requests from the first share on.
    seen = judged.verdict(state(phase, 100 if phase != "comparing" else weight, strategy, convert_at))
    assert seen
    assert seen.outcome == "pass", seen.reasons


def test_half_of_the_requests_is_no_equal_load_where_one_side_has_more_engines(judged: Judging) -> None:
    slow = {**ANSWER, "first_token_seconds": 0.15, "total_seconds": 1.5}
    record(judged, 70, new=slow)
    seen = judged.verdict(state("shifting", 50, "take-turns", "soak_end", (0, 1, 2)))
    assert seen
    assert seen.outcome == "pass", seen.reasons


def test_judging_a_long_window_takes_its_latest_pairs(judged: Judging, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def counting(window: Any, rules: Any) -> Any:
        taken.append(len(window.pairs))
        return judge(window, rules)

    monkeypatch.setattr(judging, "MOST_PAIRS", 600)
    monkeypatch.setattr("tandem.hostside.judging.judge", counting)
    record(judged, 700)
    seen = judged.verdict(state("shifting", 50, "side-by-side", "soak_end"))
    assert (taken, seen.outcome if seen else "") == ([600], "pass")


def test_pairs_that_can_not_be_read_are_no_reason_to_look_at_the_new_release_alone(judged: Judging) -> None:
    record(judged, 70, old={"damaged": True})
    judged.log.counted["green"] = Counted(requests=500)
    seen = judged.verdict(state("shifting", 50, "side-by-side", "soak_end"))
    assert seen
    assert seen.outcome == "inconclusive", seen.reasons
