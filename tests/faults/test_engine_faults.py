"""Engines that break, on a host made of processes: who is asked then, and how soon."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tandem.rehearsal.programs.knobs.settings import Knobs
from tests.faults.local_host import GOOD, PACING, SETTINGS, LocalHost, _ready, local_host
from tests.faults.local_kills import UNDONE, Witness, exposed, served, settled, users, wanted

HUNG: Final = {**SETTINGS, "hang_seconds": 3.0}
BACK_SECONDS: Final = 10.0
"""From a hard fault until the other release has all requests."""
DYING_SECONDS: Final = 0.5
"""A process that is killed still takes connections for a moment: what comes then is in progress on it as well."""
LONG: Final = {**PACING, "window_seconds": 600.0}


def refuse(host: LocalHost) -> None:
    """The process lives, and its port is closed."""
    rules = "add table inet t; add chain inet t i { type filter hook input priority 0; }; "
    rules += "add rule inet t i tcp dport 18201 reject with tcp reset"
    subprocess.run(["nft", rules], check=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What else runs on this machine is none of the guard's delay."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


BREAKS: Final[dict[str, Callable[[LocalHost], None]]] = {
    "killed": lambda host: host.units.kill("vllm-green-1"),
    "refuses connections": refuse,
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_new_engine_that_breaks_is_undone_within_ten_seconds(tmp_path: Path, how: str) -> None:
    """The guard at its real pace; requests fail only where they were in progress on it."""
    with undisturbed(), local_host(tmp_path, quick=False) as host, Witness(host, users()) as seen:
        host.units.services["vllm-green-1"].restart_seconds = 10.0
        assert host.begin(pacing=LONG).status == 0
        exposed(host)
        broke = time.monotonic()
        BREAKS[how](host)
        took = host.until(lambda: host.state().slots["green"].weight == 0, 60)
        host.until(lambda: served(host) == wanted(host))
        print(f"{how}: all requests on the old release {took:.1f} s after it; {len(seen.users.troubles)} requests cut")
        assert took <= BACK_SECONDS
        host.until(host.over, 120)
        settled(host, UNDONE)
        late = [one for one in seen.users.troubles if one.began > broke + DYING_SECONDS]
        assert late == []
        assert seen.unreadable + host.two_on_a_card == []


def test_a_new_engine_that_makes_no_token_is_undone_though_it_says_that_it_is_well(tmp_path: Path) -> None:
    with local_host(tmp_path, settings=HUNG) as host, Witness(host, users()) as seen:
        host.declare("green", Knobs(first_seconds=0.01, gap_seconds=0.003, hang_after=130))
        assert host.begin(pacing=LONG).status == 0
        exposed(host)
        took = host.until(lambda: host.state().slots["green"].weight == 0, 90)
        routed = time.monotonic()
        print(f"no token any more: undone {took:.1f} s after its exposure; hang_seconds is {HUNG['hang_seconds']:.0f}")
        host.until(host.over, 120)
        settled(host, UNDONE)
        past = host.state().past
        assert past is not None
        assert "and made no token for" in past.why
        assert [one for one in seen.users.troubles if one.began > routed] == []
        assert seen.unreadable + host.two_on_a_card == []


def test_when_the_old_engine_dies_the_new_one_has_all_and_the_rollout_is_held(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        host.units.services["vllm-blue-0"].restart_seconds = 6.0
        assert host.begin(pacing=LONG).status == 0
        exposed(host)
        broke = time.monotonic()
        host.units.kill("vllm-blue-0")
        took = host.until(lambda: host.state().slots["green"].weight == 100, 30)
        print(f"the old engine was killed: all requests on the new one {took:.1f} s after it")
        assert took <= BACK_SECONDS
        assert "the old release broke" in (host.state().held or "")
        host.until(lambda: host.state().slots["blue"].weight == 50, 60)
        assert host.state().held, "it goes on only when people say so"
        assert host.tandemctl("rollback").status == 0
        host.until(host.over, 90)
        settled(host, UNDONE)
        assert [(one.began - broke, one.what) for one in seen.users.troubles if one.began > broke + DYING_SECONDS] == []
        assert seen.unreadable + host.two_on_a_card == []


def test_a_hung_engine_is_taken_out_restarted_ever_more_rarely_and_taken_in_again(tmp_path: Path) -> None:
    with local_host(tmp_path, settings=HUNG) as host, users() as seen:
        one, restarts = host.units.services["vllm-blue-1"], list[float]()
        for _ in range(2):
            before = one.process
            host.units.kill("vllm-blue-1", signal.SIGSTOP)
            host.until(lambda: host.state().slots["blue"].asked == (18100,), 30)
            out = time.monotonic()
            host.until(lambda before=before: one.alive and one.process is not before, 60)  # type: ignore[misc]
            restarts.append(time.monotonic())
            host.until(lambda: host.state().slots["blue"].asked == (18100, 18101), 60)
            back = time.monotonic()
            assert [trouble for trouble in seen.troubles if out < trouble.began < back] == []
        print(f"restarted twice, {restarts[1] - restarts[0]:.1f} s apart")
        assert restarts[1] - restarts[0] >= 8, "the back-off of a quick guard"
        assert host.state().rollout is None


@pytest.mark.parametrize("hung", [("vllm-blue-1",), ("vllm-blue-0", "vllm-blue-1")], ids=["one", "both"])
def test_an_engine_that_hangs_while_nobody_asks_is_found_outside_of_rollouts(
    tmp_path: Path, hung: tuple[str, ...]
) -> None:
    with local_host(tmp_path, settings={**HUNG, "hang_seconds": 20.0, "idle_seconds": 2.0}) as host:
        host.kill_guard()
        before = {unit: host.units.services[unit].process for unit in ("vllm-blue-0", "vllm-blue-1")}
        # Each request takes a second more than the one before, and no counter says so.
        host.declare("blue", Knobs(first_seconds=0.01, gap_seconds=0.003, leak_seconds=1.0, stuck_counters=True))
        for unit in hung:
            host.units.kill(unit)
            host.units.start(unit)
        host.until(lambda: all(host.units.services[unit].process is not before[unit] for unit in hung), 60)
        host.declare("blue", GOOD)  # What starts from now on is well.
        host.paths.guard_sight.unlink()
        host.start_guard()
        host.until(lambda: _ready(host) == set(before), 60)
        loaded = {unit: host.units.services[unit].process for unit in before}
        took = host.until(lambda: all(host.units.services[unit].process is not loaded[unit] for unit in hung), 90)
        print(f"{', '.join(hung)}: hung while idle, restarted {took:.1f} s later; idle_seconds is 2")
        host.until(lambda: _ready(host) == set(before), 60)
        host.until(lambda: host.state().slots["blue"].asked == (18100, 18101), 30)
        assert all(host.units.services[unit].process is loaded[unit] for unit in before.keys() - set(hung))
        assert "was idle and made no token in 3 requests in a row" in host.log.read_text()
