"""The guard's looks, one after another, on a host of which systemd, the routers and the engines are stood in for."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.advance import Pacing, Rollout, undo
from tandem.domain.layout import ConvertAt, Strategy, Swap
from tandem.domain.rollout import Slot, State, Webui
from tandem.domain.watch import Look, Vital
from tandem.hostside import carry, guard, reserve, state
from tandem.hostside.engines import Completion
from tandem.hostside.paths import Paths
from tandem.hostside.traffic import NotTaken
from tandem.hostside.units import Unit

PORTS = {"blue": (18100, 18101), "green": (18200, 18201)}
ALL = [f"vllm-{slot}-{card}" for slot in PORTS for card in (0, 1)]


@dataclass
class Host:
    """``active``: of each unit; ``ready``: completes; ``busy``: requests, None: it does not say; ``faults``: seen."""

    active: dict[str, str] = field(default_factory=lambda: dict.fromkeys(ALL, "inactive"))
    queued: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    busy: dict[str, float | None] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    now: float = 1000.0
    dumb: bool = False
    taken: bool = True

    def show(self, names: list[str]) -> dict[str, Unit]:
        if self.dumb:
            return {}
        known = [name for name in names if name in self.active]
        return {
            name: Unit(name, "loaded", self.active[name], "", "success", 0, name in self.queued) for name in known
        } | {name: Unit(name, "not-found", "inactive", "", "success", 0, False) for name in set(names) - set(known)}

    def start(self, name: str) -> None:
        self.orders.append(f"start {name}")
        self.active[name] = "active"

    def stop(self, name: str) -> None:
        self.orders.append(f"stop {name}")
        self.active[name] = "inactive"
        self.ready.discard(name)
        self.faults.pop(name, None)

    def restart_soon(self, name: str) -> None:
        self.orders.append(f"restart {name}")
        self.ready.discard(name)

    def repair(self, *_: object) -> list[str]:
        if not self.taken:
            raise NotTaken("the router uses another split")
        return []

    # As a Watcher: it forgets what it watches no more.
    def set(self, ports: dict[str, int]) -> None:
        self.watched = {*ports}

    def seen(self) -> dict[str, tuple[Vital, Look]]:
        return {name: (Vital(name, fault=self.faults.get(name, "")), Look(self.now)) for name in self.watched}

    def completes(self, name: str) -> Completion | None:
        return Completion(self.now - 5, 3.0, 1.0) if name in self.ready & self.watched else None

    def prove(self, models: object) -> None: ...

    def renew(self, name: str) -> None: ...

    def started_again(self, name: str) -> bool:
        return name in self.again

    def close(self) -> None: ...

    def look(self, name: str, port: int, shown: object) -> Look:
        busy = self.busy.get(name, 0.0)
        return Look(self.now, answered=busy is not None, running=busy or 0.0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    for name in ("show", "start", "stop", "restart_soon"):
        monkeypatch.setattr(f"tandem.hostside.units.{name}", getattr(host, name))
    monkeypatch.setattr("tandem.hostside.traffic.differing", lambda *_: {})
    monkeypatch.setattr("tandem.hostside.traffic.render", lambda *_: None)
    monkeypatch.setattr(carry, "repair", host.repair)
    monkeypatch.setattr("tandem.hostside.eyes.Watcher", lambda *_: host)
    monkeypatch.setattr(guard, "boot_seconds", lambda: host.now)
    monkeypatch.setattr("tandem.hostside.hands.look", host.look)
    monkeypatch.setattr("tandem.hostside.notify.tell", lambda event, *_, **__: host.told.append(event))
    monkeypatch.setattr("tandem.hostside.router_log.RouterLog.read", lambda _: None)
    monkeypatch.setattr("tandem.hostside.reminder.Reminder.look", lambda _: None)
    return host


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for path in (paths.state, paths.guard_settings, paths.lock, paths.guard_sight):
        path.parent.mkdir(parents=True, exist_ok=True)
    paths.guard_settings.write_text(json.dumps({"ready_seconds": 900, "drain_seconds": 3600}))
    return paths


@pytest.fixture
def small_disk(paths: Paths) -> Iterator[Callable[[], None]]:
    """Calling it fills the disk that the record is on, down to the last byte but for the reserve."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    folder = paths.state.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(folder)], check=True)

    def fill() -> None:
        with open(folder / "filler", "wb", buffering=0) as filler, suppress(OSError):
            while filler.write(b"x" * 4096) == 4096:
                pass
        assert reserve.free_bytes(folder) == 0

    yield fill
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def watch(host: Host, paths: Paths) -> Iterator[guard.Guard]:
    with closing(guard.Guard(paths)) as watch:
        yield watch


def rollout(
    paths: Paths,
    phase: str,
    weight: int,
    asked: dict[str, tuple[int, ...]],
    way: tuple[Strategy, ConvertAt] = ("take-turns", "soak_end"),
    **more: Any,
) -> State:
    shares = {"blue": 100 - weight, "green": weight}
    slots = {
        name: Slot(name, name[0] * 16, PORTS[name], shares[name], asked.get(name, ()), "m", "r", "i") for name in PORTS
    }
    swap = Swap("blue", "green", (0, 1), *way)
    under_way = Rollout(swap, Pacing(), phase, weight, id="x", step=7, **more)  # type: ignore[arg-type]
    made = State(serving="blue", slots=slots, webui=Webui("blue", 18300), rollout=under_way)
    state.save(paths.state, made)
    return made


def runs(host: Host, *names: str, ready: bool = True) -> None:
    for name in names:
        host.active[name] = "active"
        if ready:
            host.ready.add(name)


def go(watch: guard.Guard, host: Host, ticks: int, seconds: float = 1.0) -> State:
    for _ in range(ticks):
        host.now += seconds
        watch.tick()
    return state.load(watch.paths.state)


@pytest.mark.parametrize("dead", [False, True])
def test_what_was_converted_at_full_share_can_be_undone(
    host: Host, paths: Paths, watch: guard.Guard, dead: bool
) -> None:
    now = rollout(paths, "soaking", 100, {"green": PORTS["green"]}, ("take-turns", "full"))
    runs(host, "vllm-green-0", "vllm-green-1", ready=not dead)
    if dead:
        # Hung: its counters answer and stand still, and requests stay.
        host.faults = dict.fromkeys(("vllm-green-0", "vllm-green-1"), "made no token")
        host.busy = dict.fromkeys(host.faults, 5.0)
    assert now.rollout
    state.save(paths.state, replace(now, rollout=undo(now.rollout, "no")))
    for _ in range(300):
        after = go(watch, host, 1)
        host.ready |= {name for name in host.active if "blue" in name and host.active[name] == "active"}
        if after.rollout is None:
            break
    assert after.rollout is None, (after.held, host.orders)
    assert (after.serving, after.slots["blue"].asked) == ("blue", PORTS["blue"])
    assert {name for name, active in host.active.items() if active == "active"} == {"vllm-blue-0", "vllm-blue-1"}


def test_engines_whose_start_is_queued_at_a_boot_are_no_fault(host: Host, paths: Paths, watch: guard.Guard) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    host.queued = {"vllm-blue-0", "vllm-green-1"}
    after = go(watch, host, 5)
    assert (after.phase, after.held) == ("shifting", None)
    assert host.orders == []


def test_a_systemd_that_says_nothing_for_a_moment_is_no_fault(host: Host, paths: Paths, watch: guard.Guard) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")
    go(watch, host, 2)
    host.dumb = True
    go(watch, host, 2)
    host.dumb = False
    after = go(watch, host, 2)
    assert (after.phase, after.held) == ("shifting", None)


def draining(host: Host, paths: Paths) -> None:
    rollout(paths, "finishing", 100, {"green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")


def test_an_engine_that_is_too_busy_to_say_its_counters_is_not_stopped(
    host: Host, paths: Paths, watch: guard.Guard
) -> None:
    draining(host, paths)
    host.busy = {"vllm-blue-0": 9.0}
    go(watch, host, 60)
    host.busy = {"vllm-blue-0": None}
    go(watch, host, 10)
    assert host.orders == []
    host.busy = {"vllm-blue-0": 9.0}
    go(watch, host, 60)
    assert host.orders == []
    host.busy = {"vllm-blue-0": 0.0}
    go(watch, host, 4)
    assert host.orders[0] == "stop vllm-blue-0"


def test_an_engine_that_never_says_its_counters_is_stopped_in_the_end(
    host: Host, paths: Paths, watch: guard.Guard
) -> None:
    draining(host, paths)
    host.busy = {"vllm-blue-0": None}
    go(watch, host, 40)
    assert host.orders[0] == "stop vllm-blue-0"


def test_no_engine_is_stopped_that_a_router_may_still_ask(host: Host, paths: Paths, watch: guard.Guard) -> None:
    draining(host, paths)
    host.taken = False
    go(watch, host, 60)
    assert host.orders == []
    host.taken = True
    go(watch, host, 2)
    assert host.orders[0] == "stop vllm-blue-0"


def test_a_dead_old_release_is_told_once_however_its_fault_counts(host: Host, paths: Paths, watch: guard.Guard) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")
    go(watch, host, 2)
    for seconds in range(121, 151):
        host.faults = {"vllm-blue-0": f"vllm-blue-0 made no token for {seconds} s"}
        after = go(watch, host, 1)
    assert (host.told, after.slots["green"].weight) == (["hold"], 100)
    held = [line for line in paths.history.read_text().splitlines() if '"held: ' in line]
    assert len(held) == 2  # intent and result


def test_a_dead_old_release_is_not_converted_before_its_time(host: Host, paths: Paths, watch: guard.Guard) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)}, ("take-turns", "full"))
    runs(host, "vllm-blue-0", "vllm-green-1")
    go(watch, host, 2)
    host.faults = {"vllm-blue-0": "vllm-blue-0 is dead"}
    after = go(watch, host, 30)
    assert after.rollout
    assert (after.rollout.lean, host.told) == ("green", ["hold"])
    assert "stop vllm-blue-0" not in host.orders


def test_an_engine_that_loads_after_its_restart_is_left_in_peace(host: Host, paths: Paths, watch: guard.Guard) -> None:
    blue = Slot("a", "a" * 16, PORTS["blue"], 100, PORTS["blue"], "m", "r", "i")
    state.save(paths.state, State(serving="blue", slots={"blue": blue}, webui=Webui("blue", 18300)))
    runs(host, "vllm-blue-0", "vllm-blue-1")
    go(watch, host, 2)
    host.faults = {"vllm-blue-0": "vllm-blue-0 made no token for 121 s"}
    go(watch, host, 5)
    assert host.orders == ["restart vllm-blue-0"]
    host.faults = {"vllm-blue-0": "vllm-blue-0 refused the last 9 connections"}
    go(watch, host, 600)
    assert host.orders == ["restart vllm-blue-0"]
    go(watch, host, 400)
    assert host.orders == ["restart vllm-blue-0"] * 2


def test_a_staged_engine_without_a_unit_undoes_the_rollout(host: Host, paths: Paths, watch: guard.Guard) -> None:
    rollout(paths, "staging", 0, {"blue": (18100,)})
    runs(host, "vllm-blue-0")
    del host.active["vllm-green-1"]
    after = go(watch, host, 3)
    assert (after.phase, "no such unit" in (after.rollout.why if after.rollout else "")) == ("rolling_back", True)


@pytest.mark.parametrize(("phase", "word"), [("rolling_back", "can't be undone"), ("finishing", "can't be finished")])
def test_an_end_that_does_not_come_is_told_once_and_still_comes_when_it_is_mended(
    host: Host, paths: Paths, watch: guard.Guard, monkeypatch: pytest.MonkeyPatch, phase: str, word: str
) -> None:
    monkeypatch.setattr("tandem.hostside.notify.tell", lambda _, sentence, *__, **___: host.told.append(sentence))
    slot, asked = ("blue", (18100,)) if phase == "rolling_back" else ("green", (18201,))
    rollout(paths, phase, 0 if phase == "rolling_back" else 100, {slot: asked})
    runs(host, *(f"vllm-{slot}-{port % 10}" for port in asked))
    dead = f"vllm-{slot}-{1 - asked[0] % 10}"
    for looks in range(100):  # Its unit fails again and again, which is no progress.
        assert looks > 70 or host.told == []
        host.active[dead] = "failed"
        after = go(watch, host, 3, 5.0)
    assert after.phase == phase
    assert (after.held or "").startswith("no progress for 20 min ")
    assert dead in (after.held or "")
    assert host.told == [f"the rollout to green {word}: {after.held}"]
    assert "goes on by itself once that is mended" in paths.guard_sight.read_text()
    host.ready |= {dead}
    after = go(watch, host, 10)
    assert (after.rollout, word in host.told[0]) == (None, True)


@pytest.mark.parametrize("asked", [(18200, 18201), (18201,)])
def test_a_boot_while_it_is_undone_is_waited_for_and_nobody_is_told_that_it_is_stuck(
    host: Host, paths: Paths, watch: guard.Guard, asked: tuple[int, ...]
) -> None:
    rollout(paths, "rolling_back", 100, {"green": asked}, ("take-turns", "full"))
    runs(host, *(f"vllm-green-{port % 10}" for port in asked), ready=False)
    after = go(watch, host, 60)
    assert (after.held, host.told) == (None, [])
    runs(host, *(f"vllm-green-{port % 10}" for port in asked))
    for _ in range(60):
        after = go(watch, host, 1)
        host.ready |= {name for name in host.active if "blue" in name and host.active[name] == "active"}
    assert (after.rollout, host.told) == (None, [])


def test_what_can_not_be_judged_is_undone_all_the_same_when_an_engine_dies(
    host: Host, paths: Paths, watch: guard.Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")
    paths.prober.mkdir(parents=True)
    (paths.prober / "x.jsonl").symlink_to("elsewhere")
    go(watch, host, 2)
    host.faults = {"vllm-green-1": "vllm-green-1 refused the last 3 connections"}
    assert go(watch, host, 1).phase == "rolling_back"
    assert "x.jsonl" in capsys.readouterr().err


def test_a_full_disk_keeps_no_rollout_from_being_undone(
    host: Host, paths: Paths, watch: guard.Guard, small_disk: Callable[[], None]
) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")
    go(watch, host, 15)
    small_disk()
    go(watch, host, 15)
    host.faults = {"vllm-green-1": "vllm-green-1 refused the last 3 connections"}
    assert go(watch, host, 3).phase == "rolling_back"


def test_an_engine_that_can_not_even_be_started_keeps_nobody_from_the_rest(
    host: Host, paths: Paths, watch: guard.Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card was lost, and somebody masked its unit."""

    def masked(name: str) -> None:
        raise subprocess.CalledProcessError(1, ["systemctl", "start", name])

    monkeypatch.setattr("tandem.hostside.units.start", masked)
    blue = Slot("a", "a" * 16, PORTS["blue"], 100, (18100,), "m", "r", "i")
    state.save(paths.state, State(serving="blue", slots={"blue": blue}, webui=Webui("blue", 18300)))
    runs(host, "vllm-blue-0")
    go(watch, host, 2)
    host.faults = {"vllm-blue-0": "vllm-blue-0 made no token for 121 s"}
    go(watch, host, 2)
    assert "vllm-blue-1" in json.loads(paths.guard_sight.read_text())["doing"]
    assert host.orders == ["restart vllm-blue-0"]


def test_the_last_answers_of_an_engine_are_awaited_for_as_long_as_they_may_take(
    host: Host, paths: Paths, watch: guard.Guard
) -> None:
    draining(host, paths)
    host.busy = {"vllm-blue-0": 9.0}
    after = go(watch, host, 350, 10.0)
    assert (after.held, host.orders) == (None, [])


def test_a_guard_that_starts_anew_does_not_tell_of_the_same_end_again(host: Host, paths: Paths) -> None:
    rollout(paths, "rolling_back", 0, {"blue": (18100,)}, held="no progress for 20 min 0 s: vllm-blue-1 does not run")
    runs(host, "vllm-blue-0")
    with closing(guard.Guard(paths)) as watch:
        go(watch, host, 150, 10.0)
    assert host.told == []


def test_an_engine_of_the_new_release_that_somebody_starts_again_is_named_as_that(
    host: Host, paths: Paths, watch: guard.Guard
) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    runs(host, "vllm-blue-0", "vllm-green-1")
    go(watch, host, 2)
    host.faults, host.again = {"vllm-green-1": "vllm-green-1 refused the last 3 connections"}, {"vllm-green-1"}
    host.ready.discard("vllm-green-1")
    after = go(watch, host, 1)
    assert after.rollout
    assert (after.phase, after.rollout.why) == ("rolling_back", "vllm-green-1 was started again during the rollout")


def test_what_a_write_left_that_was_cut_short_is_removed_once_it_is_old(
    host: Host, paths: Paths, watch: guard.Guard
) -> None:
    rollout(paths, "shifting", 50, {"blue": (18100,), "green": (18201,)})
    left = paths.state.with_name(".state.json.0a1b2c3d.new")
    left.write_text("{")
    go(watch, host, 2)
    assert left.exists()
    os.utime(left, (0, 0))
    go(watch, host, 61, 10.0)
    assert not left.exists()
