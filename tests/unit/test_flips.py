"""What the benchmark of upgrades reads from a host, how long a flip takes there, and how it steers rollouts."""

import random
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest

from tandem.hostside.split import engine_split
from tests.bench.programs import flip
from tests.bench.programs.flip import share
from tests.bench.record import BROKEN, MOVING, QUIET, SETTLING
from tests.bench.share import ENGINES, Drawing, drawing, grow
from tests.bench.steering import Flip, Steering
from tests.bench.timeline import Broken, Event, phases
from tests.bench.upgrade import Rollouts, Seen


@pytest.fixture(scope="module")
def router() -> Iterator[Drawing]:
    with drawing() as running:
        yield running


@pytest.fixture
def on_router(router: Drawing, monkeypatch: pytest.MonkeyPatch) -> Drawing:
    """The program looks at this router instead of the host's."""
    monkeypatch.setattr(flip, "SPLIT", router.split)
    monkeypatch.setattr(flip, "RECORD", router.split.parent / "state.json")
    monkeypatch.setattr(flip, "STATUS_PORT", router.status_port)
    router.use({"blue": 90, "green": 10}, "")
    return router


def order(router: Drawing, tmp_path: Path, *, reload: bool) -> list[str]:
    """Gives green 40 % after a while; without the reload Nginx does not know."""
    new = tmp_path / "new"
    new.write_text(engine_split(ENGINES, {"blue": 60, "green": 40}))
    pid = (router.split.parent / "nginx/nginx.pid").read_text().strip()
    then = f"; kill -HUP {pid}" if reload else ""
    return ["sh", "-c", f"sleep 0.2; touch {router.split.parent}/state.json; sleep 0.2; mv {new} {router.split}{then}"]


def test_a_flip_lasts_until_the_router_serves_the_share(on_router: Drawing, tmp_path: Path) -> None:
    found = flip.main(order(on_router, tmp_path, reload=True), "green", 40, 10)
    assert 0.2 <= found["recorded"] <= found["seconds"] - 0.2
    assert 0.4 <= found["seconds"] < 5
    assert found["status"] == 0


def test_a_split_that_is_written_and_not_served_is_no_flip(on_router: Drawing, tmp_path: Path) -> None:
    found = flip.main(order(on_router, tmp_path, reload=False), "green", 40, 1.5)
    assert found["seconds"] is None


def test_an_order_that_fails_ends_the_waiting(on_router: Drawing) -> None:
    found = flip.main([sys.executable, "-c", "raise SystemExit('no rollout')"], "green", 40, 30)
    assert (found["seconds"], found["status"], found["said"].strip()) == (None, 1, "no rollout")


def test_a_conversation_that_flips_back_is_counted(router: Drawing) -> None:
    """Another salt for each weight draws anew: many flip back."""
    names = [f"chat-{number}" for number in range(500)]
    assert grow(router, "blue", "green", "x", names).flips == 0

    class Forgetful(Drawing):
        def use(self, weights: Any, salt: str) -> None:
            super().use(weights, f"{salt}{weights['green']}")

    assert grow(Forgetful(**vars(router)), "blue", "green", "x", names).flips > 50


@pytest.mark.parametrize("green", [0, 5, 50, 95, 100])
def test_the_share_is_read_from_the_split_as_it_is_written(green: int) -> None:
    text = engine_split({"blue": [18100], "green": [18200, 18201]}, {"blue": 100 - green, "green": green}, salt="x")
    assert (share(text, "green"), share(text, "blue")) == (green, 100 - green)


def test_moves_what_was_broken_and_the_rest_are_told_apart() -> None:
    events = [
        Event(100, "idle", 0, None, "s0"),
        Event(110, "staging", 0, None, "s0"),
        Event(130, "shifting", 10, None, "s0"),
        Event(130.4, "shifting", 10, None, "s1"),
        Event(150, "rolling_back", 0, None, "s1"),
        Event(150.1, "rolling_back", 0, None, "s0"),
        Event(160, "idle", 0, None, "s0"),
    ]
    found = [(phase.began, phase.name, phase.sort) for phase in phases(events, [Broken(140, 145)])]
    assert found == [
        (100, "idle", QUIET),
        (110, "staging", SETTLING),
        (pytest.approx(129.9), "moves", MOVING),
        (pytest.approx(132.4), "between moves", QUIET),
        (140, "broken", BROKEN),
        (145, "between moves", QUIET),
        (pytest.approx(149.6), "moves", MOVING),
        (pytest.approx(152.1), "rolling back", SETTLING),
        (160, "idle", QUIET),
    ]
    assert phases([]) == []


class Host:
    """Stands in for a rehearsal host: every rollout goes where it is sent. ``fails``: releases that are undone."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        self.fails, self.orders = fails, list[str]()
        self.now: dict[str, Any] = {"state": "idle", "held": None, "serving": "blue", "rollout": None, "past": None}
        self.now["slots"] = {"blue": {"release": "a", "weight": 100}}

    @property
    def there(self) -> "Host":
        return self

    def begin(self, release: str, **pacing: Any) -> None:
        self.orders.append(f"begin {release}")
        old = self.now["serving"]
        new = "green" if old == "blue" else "blue"
        if release in self.fails:
            self.now["past"] = {"why": "its answers are wrong"}
        elif not pacing:
            self.now.update(serving=new, slots={new: {"release": release, "weight": 100}})
        else:
            weight = pacing["weights"][0]
            self.now.update(state="shifting", rollout={"swap": {"old": old, "new": new}})
            self.now["slots"][new] = {"release": release, "weight": weight}

    def state(self) -> dict[str, Any]:
        return deepcopy(self.now)

    def until(self, what: str, true: Any) -> dict[str, Any]:
        assert true(self.now), what
        return self.state()

    def shell(self, script: str, check: bool = True) -> str:
        self.orders.append(script.split(" --")[0])
        self._undo()
        return ""

    def flip(self, command: list[str], slot: str, share: float) -> Flip:
        self.orders.append(f"{' '.join(command[:3])} -> {slot} {share:.0f}")
        if "rollback" in command:
            self._undo()
        return Flip(0.2, "", 5.0)

    def kill(self, slot: str, card: int, old: str) -> Flip:
        self.orders.append(f"kill {slot} {card}")
        self._undo()
        return Flip(3.0, "", 7.0)

    def cards(self, slot: str) -> list[int]:
        return [1]

    def _undo(self) -> None:
        serving = self.now["serving"]
        self.now.update(state="idle", rollout=None, slots={serving: self.now["slots"][serving]})


def rollouts(host: Host) -> Rollouts:
    return Rollouts(cast(Steering, host), ["a", "b"], Seen(), random.Random(1))  # noqa: S311 - repeatable


def test_upgrades_go_back_and_forth_between_two_releases() -> None:
    run = rollouts(host := Host())
    run.upgrades(3)
    assert host.orders == ["begin b", "begin a", "begin b"]
    assert (run.seen.finished, run.seen.trouble) == (3, [])


def test_an_upgrade_that_was_undone_is_no_finished_one() -> None:
    run = rollouts(Host(fails=("b",)))
    run.upgrades(1)
    run.rollbacks(1)
    assert (run.seen.finished, run.seen.undone) == (0, 0)
    assert run.seen.trouble[0] == "upgrade to b: its answers are wrong"
    assert run.seen.trouble[1].startswith("b did not get to ")


def test_a_rollback_is_timed_until_the_old_slot_has_all() -> None:
    run = rollouts(host := Host())
    run.rollbacks(2)
    assert host.orders == ["begin b", "tandemctl rollback --why -> blue 100"] * 2
    assert (run.seen.undone, [one.seconds for one in run.seen.flips]) == (2, [0.2, 0.2])


def test_a_killed_engine_is_of_the_new_release_and_what_it_hurts_is_marked() -> None:
    run = rollouts(host := Host())
    run.faults(1)
    assert host.orders == ["begin b", "kill green 1"]
    assert (run.seen.broken[0].began, run.seen.faults[0].seconds, run.seen.trouble) == (7.0, 3.0, [])
