"""The step that is under way is judged by what was recorded of it, also where the old release is not there any more."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from tandem.hostside.router_log import Counted, RouterLog

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


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Looks once a second since the guard was started; returns how many failures of the new release were counted."""
    lines: list[str] = []
    now = [1000.0]

    def read(log: RouterLog) -> None:
        log.count(lines)
        lines.clear()

    monkeypatch.setattr(RouterLog, "read", read)
    monkeypatch.setattr(judging, "boot_seconds", lambda: now[0])
    paths = Paths(tmp_path)
    paths.prober.mkdir(parents=True)
    guard = Judging(paths)
    entry = {"method": "POST", "route": "/v1/chat/completions", "slot": "green", "upstream_seconds": "0.1"}

    def look(seconds: int, step: int, failures: int = 0, arrived: bool = True) -> int:
        """``failures``: before each look."""
        under_way = state("shifting", 50, "side-by-side", "soak_end")
        assert under_way.rollout
        for _ in range(seconds):
            now[0] += 1
            lines.extend([json.dumps({**entry, "upstream_status": "502"})] * failures)
            guard.verdict(replace(under_way, rollout=replace(under_way.rollout, step=step)), arrived)
        return guard.log.of("green").failures

    return look


def test_what_users_meet_while_a_host_boots_is_not_counted(looks: Callable[..., int]) -> None:
    assert looks(60, step=3, failures=2, arrived=False) == 0
    assert looks(2, step=3, failures=2) == 0
    assert looks(10, step=3) == 0
    looks(4, step=3, failures=2)
    assert looks(2, step=3) == 8


def test_a_release_that_fails_users_as_soon_as_it_has_some_is_seen_at_once(looks: Callable[..., int]) -> None:
    looks(10, step=3)
    # The first look at a step finds the old layout.
    looks(1, step=4, arrived=False)
    looks(1, step=4, failures=5)
    assert looks(1, step=4) == 5


def test_failures_of_an_engine_that_is_gone_count(looks: Callable[..., int]) -> None:
    looks(10, step=3)
    looks(4, step=3, failures=5, arrived=False)
    assert looks(2, step=3, arrived=False) == 20
