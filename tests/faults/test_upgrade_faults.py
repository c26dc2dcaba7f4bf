"""What else can happen during an upgrade, on a host made of processes: it serves, and it ends well or asks."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tandem.hostside import lock
from tandem.hostside.sight import read_sight
from tests.faults.local_host import GOOD, PACING, LocalHost, local_host
from tests.faults.local_kills import FINISHED, UNDONE, Witness, exposed, served, settled, users, wanted
from tests.faults.local_services import KEY, MODEL
from tests.faults.local_users import ask

PHASES: Final = ("staging", "comparing", "shifting", "soaking", "finishing")
OTHER_CLOCK: Final = Path(__file__).parent / "programs/other_clock.c"
DAY: Final = 86400
WINDOW_SECONDS: Final = 3.0
SLOW: Final = {**PACING, "window_seconds": WINDOW_SECONDS}
LONG: Final = {**PACING, "window_seconds": 600.0}
"""It stays at 50 % as long as a test wants."""


def test_a_guard_killed_in_every_phase_goes_on_where_it_was(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        assert host.begin().status == 0
        for phase in PHASES:
            host.until(host.in_phase(phase), 90)
            host.kill_guard()
            time.sleep(1)
            assert host.state().phase == phase, "nothing moves without a guard"
            host.start_guard()
        host.until(host.over, 90)
        settled(host, FINISHED)
        assert seen.wrong(len(PHASES)) == []


def test_without_a_guard_one_command_takes_the_traffic_back(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, Witness(host, users()) as seen:
        assert host.begin(pacing=LONG).status == 0
        exposed(host)
        host.kill_guard()
        before = served(host)
        done = host.tandemctl("rollback", "--why", "asked")
        assert done.status == 0, done
        assert "all requests go to release a again" in done.out
        assert [host.state().slots[slot].weight for slot in ("blue", "green")] == [100, 0]
        assert served(host) == wanted(host) != before
        host.start_guard()
        host.until(host.over, 90)
        settled(host, UNDONE)
        assert seen.wrong(1) == []


def test_of_two_operators_one_wins_and_the_other_is_told_why(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, Witness(host, users()) as seen, ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda release: host.begin(release=release, pacing=LONG), ("b", "c")))
        assert sorted(one.status for one in said) == [0, 3], said
        winner = ("b", "c")[[one.status for one in said].index(0)]
        refused = next(one for one in said if one.status)
        assert f"a rollout to {winner} is under way" in refused.error
        assert "Nothing was changed." in refused.error
        assert host.state().slots["green"].release == winner
        exposed(host)
        orders = (["rollback"], ["upgrade", "move", "--weight", "100"])
        back, move = pool.map(lambda words: host.tandemctl(*words), orders)
        # Whichever came first: who moved it before is undone as well, who came later is refused.
        assert back.status == 0, back
        assert move.status == 0 or (move.status == 3 and "it can't be steered. Nothing was changed." in move.error)
        with lock.lock(host.paths.lock, "somebody", "do something long", 5):
            late = host.tandemctl("rollback", "--wait-seconds", "0")
        assert late.status == 3
        assert "somebody" in late.error
        assert "to do something long" in late.error
        host.until(host.over, 90)
        settled(host, UNDONE)
        assert seen.wrong(0) == []


def test_a_full_disk_stops_the_rollout_and_nothing_else(tmp_path: Path) -> None:
    with local_host(tmp_path, disk_mib=4) as host, Witness(host, users()) as seen:
        assert host.begin(pacing=SLOW).status == 0
        exposed(host)
        before = host.state()
        filler = host.disk / "filler"
        fill(filler)
        said = host.log.stat().st_size
        answered = seen.users.answered
        undone = host.tandemctl("rollback")
        assert undone.status == 1
        assert "No space left on device" in undone.error
        time.sleep(6)
        assert not host.guard_died()
        assert "No space left on device" in host.log.read_bytes()[said:].decode(errors="replace")
        now = host.state()
        assert (now.phase, now.slots) == (before.phase, before.slots)
        assert seen.users.answered > answered + 5
        filler.unlink()
        host.until(host.over, 120)
        settled(host, FINISHED)
        assert seen.wrong(50) == []


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 512)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_jumps_by_a_day_changes_nothing(tmp_path: Path, jump: int) -> None:
    clock, library = tmp_path / "clock", tmp_path / "other_clock.so"
    clock.write_text("0")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(OTHER_CLOCK)], check=True)
    with local_host(tmp_path / "jump") as host, Witness(host, users()) as seen:
        host.environment = {"LD_PRELOAD": str(library), "OTHER_CLOCK": str(clock)}
        host.kill_guard()
        host.start_guard()
        assert host.begin(pacing=SLOW).status == 0
        exposed(host)
        began = time.monotonic()
        clock.write_text(str(jump))
        host.until(host.in_phase("shifting", 100), 60)
        assert time.monotonic() - began >= WINDOW_SECONDS - 0.5
        clock.write_text("0")
        host.until(host.over, 90)
        settled(host, FINISHED)
        assert seen.wrong(1) == []
        # The jump was seen by the guard: else this test shows nothing.
        moments = [one["at"][:10] for one in host.history()]
        assert len(set(moments)) > 1


@pytest.mark.parametrize("back", [False, True])
def test_a_boot_in_any_phase_ends_as_without_it(tmp_path: Path, back: bool) -> None:
    """Each boot has another boot-time clock, which begins anew."""
    with local_host(tmp_path) as host:
        host.prefix = ["unshare", "--time", "--boottime", "9000000", "--"]
        host.kill_guard()
        host.start_guard()
        assert host.begin().status == 0
        for number, phase in enumerate(PHASES[:3] if back else PHASES):
            host.until(host.in_phase(phase), 90)
            booted(host, 8000000 - number * 1000000)
        if back:
            assert host.tandemctl("rollback").status == 0
            booted(host, 1000000)
        host.until(host.over, 120)
        settled(host, UNDONE if back else FINISHED, 40)
        assert host.two_on_a_card == []
        assert len({one["boot_id"] for one in host.history()}) > 1
        assert ask(MODEL, KEY) == ""


def test_what_users_meet_while_a_host_boots_undoes_no_good_release(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, users() as asking:
        assert host.begin(pacing=LONG).status == 0
        exposed(host)
        host.power_off()
        host.declare("green", replace(GOOD, start_seconds=8.0))
        host.boot()
        host.until(lambda: counted(host, "requests") >= 10, 90)
        assert (host.state().phase, counted(host, "failures")) == ("shifting", 0), host.told()
        assert len(asking.troubles) > 10


def counted(host: LocalHost, what: str) -> int:
    """Of the users' requests to the new release in this step, by the guard's own word."""
    seen = read_sight(host.paths) or {}
    return int(seen.get("traffic", {}).get("green", {}).get(what, 0))


def test_a_release_that_fails_users_as_soon_as_it_has_some_is_undone(tmp_path: Path) -> None:
    with local_host(tmp_path) as host, users():
        host.declare("green", replace(GOOD, stranger_fail_share=1.0))
        assert host.begin(pacing=LONG).status == 0
        host.until(host.over, 120)
        settled(host, UNDONE)
        past = host.state().past
        assert past
        assert "requests failed on the new side, 0 of" in past.why


def booted(host: LocalHost, boot_seconds: int) -> None:
    host.power_off()
    host.prefix = ["unshare", "--time", "--boottime", str(boot_seconds), "--"]
    host.boot()
    host.until(partial(answers, host), 60)


def answers(host: LocalHost) -> bool:
    with suppress(OSError):
        return ask(MODEL, KEY) == ""
    return False


def test_nothing_is_left_of_a_host_of_processes(tmp_path: Path) -> None:
    with local_host(tmp_path) as host:
        assert host.running() == {"vllm-blue-0", "vllm-blue-1"}
    until, left = time.monotonic() + 10, [""]
    while left and time.monotonic() < until:
        # What a guard that was killed had asked systemctl ends by itself.
        left = [str(found) for found in Path("/proc").glob("[0-9]*/environ") if str(tmp_path) in _text(found)]
    assert left == []
    assert os.readlink("/proc/self/ns/net") == os.readlink("/proc/thread-self/ns/net")
    shutil.rmtree(tmp_path)


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""
