"""Orders to a rollout, on a host of which systemd, the routers and the engines are stood in for."""

import argparse
import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tandem.domain.advance import Pacing, Rollout
from tandem.domain.layout import Strategy, Swap
from tandem.domain.rollout import Refused, Slot, State, Webui
from tandem.domain.watch import Look
from tandem.hostside import rollouts, state
from tandem.hostside.arguments import BadInput
from tandem.hostside.paths import Paths
from tandem.hostside.units import Unit

OPTIONS = argparse.Namespace(wait_seconds=1.0, why="")
BLUE = Slot("a", "a" * 16, (18100, 18101), 100, (18100, 18101), "m", "r", "i")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Every unit runs; counters are answered by all, a completion by none but green."""
    paths = Paths(tmp_path)
    for path in (paths.state, paths.lock, paths.guard_sight, paths.upstream_key, paths.containers / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    paths.upstream_key.write_text("k\n")
    monkeypatch.setattr(
        "tandem.hostside.units.show",
        lambda names: {name: Unit(name, "loaded", "active", "", "", 0, False) for name in names},
    )
    monkeypatch.setattr("tandem.hostside.traffic.differing", lambda *_: {})
    monkeypatch.setattr("tandem.hostside.traffic.render", lambda *_: None)
    monkeypatch.setattr(rollouts, "look", lambda *_: Look(1.0, answered=True))
    monkeypatch.setattr(rollouts, "probe_one", lambda target, *_: SimpleNamespace(ready="green" in target.unit))
    monkeypatch.setattr(rollouts, "_accepted", lambda *_: None)
    return paths


def test_undoing_routes_nothing_to_an_old_release_that_hangs(paths: Paths) -> None:
    blue = Slot("a", "a" * 16, (18100, 18101), 0, (18100,), "m", "r", "i")
    green = Slot("b", "b" * 16, (18200, 18201), 100, (18201,), "m", "r", "i")
    swap = Swap("blue", "green", (0, 1), "take-turns")
    under_way = Rollout(swap, Pacing(), "shifting", 50, held="the old release broke", lean="green", id="x", step=4)
    state.save(paths.state, State("blue", {"blue": blue, "green": green}, Webui("blue", 18300), under_way))
    rollouts.rollback(OPTIONS, paths, "test", "root")
    after = state.load(paths.state)
    assert (after.phase, after.slots["green"].weight, after.slots["green"].asked) == ("rolling_back", 100, (18201,))


@pytest.mark.parametrize(("strategy", "said"), [("recreate", "nothing answers"), ("take-turns", "goes on answering")])
def test_undoing_says_who_answers_until_the_old_release_has_started(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strategy: Strategy, said: str
) -> None:
    monkeypatch.setattr(
        "tandem.hostside.units.show",
        lambda names: {name: Unit(name, "loaded", "active", "", "", 0, False) for name in names if "green" in name},
    )
    blue = Slot("a", "a" * 16, (18100, 18101), 0, (), "m", "r", "i")
    green = Slot("b", "b" * 16, (18200, 18201), 100, (18200, 18201), "m", "r", "i")
    under_way = Rollout(Swap("blue", "green", (0, 1), strategy, "full"), Pacing(), "soaking", 100, id="x", step=4)
    state.save(paths.state, State("blue", {"blue": blue, "green": green}, Webui("blue", 18300), under_way))
    rollouts.rollback(OPTIONS, paths, "test", "root")
    assert said in capsys.readouterr().out


def order(paths: Paths, **more: Any) -> dict[str, Any]:
    for card in (0, 1):
        (paths.containers / f"vllm-green-{card}.container").write_text("of b")
    digest = hashlib.sha256(b"of b").hexdigest()
    return {
        **{"release": "b", "digest": "b" * 16, "model": "m", "revision": "r", "image": "i", "slot": "green"},
        **{"cards": [0, 1], "strategy": "take-turns", "convert_at": "soak_end", "allow_gap": False},
        "pacing": {"weights": [50, 100], "window_seconds": 1, "soak_seconds": 1, "most_extensions": 1},
        "comparison": {"requests": 65, "pairs": 50, "cases": 7},
        "units": {f"vllm-green-{card}.container": digest for card in (0, 1)},
        **more,
    }


def begin(paths: Paths, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> State:
    state.save(paths.state, State("blue", {"blue": BLUE}, Webui("blue", 18300)))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(order).encode())))
    rollouts.begin_upgrade(OPTIONS, paths, "test", "root")
    return state.load(paths.state)


def test_what_was_planned_is_begun(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert begin(paths, order(paths), monkeypatch).phase == "staging"


def test_a_unit_that_somebody_else_staged_is_not_begun_under_this_name(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = order(paths)
    (paths.containers / "vllm-green-1.container").write_text("of c")
    with pytest.raises(Refused, match="vllm-green-1"):
        begin(paths, given, monkeypatch)
    assert state.load(paths.state).rollout is None


@pytest.mark.parametrize(("name", "value"), [("cards", [0, 2]), ("comparison", {"pairs": 3})])
def test_an_order_that_can_not_be_carried_out_is_refused(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    given = order(paths, **{name: value})
    (paths.containers / "vllm-green-2.container").write_text("of b")
    given["units"]["vllm-green-2.container"] = given["units"]["vllm-green-0.container"]
    with pytest.raises((Refused, BadInput)):
        begin(paths, given, monkeypatch)
    assert state.load(paths.state).rollout is None
