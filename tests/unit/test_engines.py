"""Engines on real sockets, looked at and asked as on a host."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tandem.hostside.counters import counters_in
from tandem.hostside.engines import Pace, Watcher, look
from tandem.hostside.paths import Paths
from tandem.hostside.units import Unit
from tests.unit.serving import Behaviour, program, serving, unit_block

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="ti} 7\\"ny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 90.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 1.5e+02 1700000000000
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 10.0
vllm:generation_tokens_total{engine="1",model_name="tiny"} NaN
process_cpu_seconds_total 7.0
"""
SHOWN = Unit("vllm-blue-0", "loaded", "active", "running", "success", 2, False)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A host's files with a key, and a systemctl that says what the file ``units`` holds."""
    paths = Paths(tmp_path)
    paths.secrets.mkdir(parents=True)
    paths.upstream_key.write_text("k" * 64 + "\n")
    program(tmp_path / "bin", "systemctl", f"cat {tmp_path}/units")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    units(tmp_path)
    return paths


@pytest.fixture
def watcher(paths: Paths) -> Iterator[Watcher]:
    with closing(Watcher(paths, hang_seconds=0.5, pace=Pace(0.1, 0.2))) as watcher:
        yield watcher


def units(folder: Path, started: float = 1.0, **more: object) -> None:
    """What systemd says of vllm-blue-0 from now on."""
    block = unit_block("vllm-blue-0", **more)  # type: ignore[arg-type]
    text = f"{block}MainPID=7\nExecMainStartTimestampMonotonic={int(started * 1e6)}\n"
    (folder / "units.new").write_text(text)
    (folder / "units.new").rename(folder / "units")


def eventually(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def sockets() -> int:
    return sum(os.readlink(f"/proc/self/fd/{name}").startswith("socket:") for name in _descriptors())


def _descriptors() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")]


def test_requests_and_tokens_are_summed_over_labels() -> None:
    assert counters_in(METRICS) == {
        "vllm:num_requests_running": 3.0,
        "vllm:num_requests_waiting": 4.0,
        "vllm:prompt_tokens_total": 150.0,
        "vllm:generation_tokens_total": 10.0,
    }


def test_a_look_says_what_the_engine_and_systemd_say() -> None:
    behaviour = Behaviour(body=METRICS.encode())
    with serving(behaviour) as port:
        seen = look("vllm-blue-0", port, SHOWN)
    assert (seen.unit, seen.restarts, seen.refused, seen.answered) == ("active", 2, False, True)
    assert (seen.running, seen.waiting, seen.tokens) == (3.0, 4.0, 160.0)
    assert abs(seen.boot_seconds - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert behaviour.asked[0]["path"] == "/metrics"
    assert behaviour.asked[0]["key"] is None


@pytest.mark.parametrize(
    "behaviour", [Behaviour(body=b"<html>"), Behaviour(503, METRICS.encode()), Behaviour(body=b"")]
)
def test_what_is_no_answer_with_counters_is_none(behaviour: Behaviour) -> None:
    with serving(behaviour) as port:
        seen = look("vllm-blue-0", port, None)
    assert (seen.refused, seen.answered, seen.unit, seen.tokens) == (False, False, "", None)


def test_a_closed_port_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert look("vllm-blue-0", port, None).refused


def test_an_answer_that_comes_byte_by_byte_takes_bounded_time() -> None:
    stop = threading.Event()

    def dribble() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
                if stop.wait(0.1):
                    return
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=dribble)
        thread.start()
        started = time.monotonic()
        seen = look("vllm-blue-0", server.getsockname()[1], None)
        assert time.monotonic() - started < 4
        stop.set()
        thread.join()
    assert (seen.refused, seen.answered) == (False, False)


def test_a_watched_engine_that_hangs_has_a_fault_that_ends_with_a_token(watcher: Watcher) -> None:
    behaviour = Behaviour(body=METRICS.encode())
    with serving(behaviour) as port:
        watcher.set({"vllm-blue-0": port})
        eventually(lambda: "vllm-blue-0" in watcher.seen())
        eventually(lambda: watcher.seen()["vllm-blue-0"][0].fault.startswith("vllm-blue-0 has 7 requests and made no"))
        behaviour.body = METRICS.replace("10.0", "11.0").encode()
        eventually(lambda: not watcher.seen()["vllm-blue-0"][0].fault)
        vital, seen = watcher.seen()["vllm-blue-0"]
        assert (vital.tokens, seen.unit) == (161.0, "active")


def test_a_look_is_taken_once_a_second(paths: Paths) -> None:
    behaviour = Behaviour(body=METRICS.encode())
    with serving(behaviour) as port, closing(Watcher(paths)) as watcher:
        watcher.set({"vllm-blue-0": port})
        time.sleep(3.5)
        assert 3 <= len(behaviour.asked) <= 5


def test_an_engine_that_dies_is_found_within_five_seconds(paths: Paths, tmp_path: Path) -> None:
    with closing(Watcher(paths)) as watcher:
        with serving(Behaviour(body=METRICS.encode())) as port:
            watcher.set({"vllm-blue-0": port, "vllm-blue-1": port})
            eventually(lambda: len(watcher.seen()) == 2)
            eventually(lambda: watcher.seen()["vllm-blue-0"][0].was_active)
            units(tmp_path, active="failed")
            eventually(lambda: watcher.seen()["vllm-blue-0"][0].fault == "the unit of vllm-blue-0 has failed", 5)
        eventually(lambda: watcher.seen()["vllm-blue-1"][0].fault == "vllm-blue-1 refused the last 3 connections", 5)


def test_only_those_named_are_watched_and_what_is_known_is_kept(watcher: Watcher, tmp_path: Path) -> None:
    with serving(Behaviour(body=METRICS.encode())) as port, serving(Behaviour(body=METRICS.encode())) as other:
        watcher.set({"vllm-blue-0": port})
        eventually(lambda: "vllm-blue-0" in watcher.seen() and watcher.seen()["vllm-blue-0"][0].restarts == 0)
        units(tmp_path, restarts=1)
        eventually(lambda: watcher.seen()["vllm-blue-0"][0].fault)
        watcher.set({"vllm-blue-0": port, "vllm-green-0": other})
        assert watcher.seen()["vllm-blue-0"][0].fault
        eventually(lambda: "vllm-green-0" in watcher.seen())
        watcher.renew("vllm-blue-0")
        eventually(lambda: "vllm-blue-0" in watcher.seen())
        assert not watcher.seen()["vllm-blue-0"][0].fault
        watcher.set({"vllm-green-0": port})
        assert "vllm-blue-0" not in watcher.seen()


def test_a_new_engine_that_is_known_to_answer_may_not_refuse(watcher: Watcher) -> None:
    watcher.set({"vllm-blue-0": 9, "vllm-blue-1": 9}, proven=["vllm-blue-1"])
    eventually(lambda: watcher.seen().get("vllm-blue-1") and watcher.seen()["vllm-blue-1"][0].fault)
    assert not watcher.seen()["vllm-blue-0"][0].fault


def test_a_completion_counts_for_the_process_that_made_it(watcher: Watcher, tmp_path: Path) -> None:
    started = time.monotonic() - 50
    units(tmp_path, started)
    behaviour = Behaviour(key="k" * 64)
    with serving(behaviour) as port:
        watcher.set({"vllm-blue-0": port})
        watcher.prove({"vllm-blue-0": "tiny"})
        assert watcher.proving == {"vllm-blue-0"}
        eventually(lambda: watcher.completes("vllm-blue-0"))
        first = watcher.completes("vllm-blue-0")
        assert first is not None
        assert first.first_completion_seconds is not None
        assert 50 <= first.first_completion_seconds < 60
        eventually(lambda: watcher.completes("vllm-blue-0") != first)
        later = watcher.completes("vllm-blue-0")
        assert later is not None
        assert later.boot_seconds > first.boot_seconds
        assert later.first_completion_seconds == first.first_completion_seconds
        behaviour.key = "another"
        units(tmp_path, started + 40)
        eventually(lambda: watcher.completes("vllm-blue-0") is None)
        behaviour.key = "k" * 64
        eventually(lambda: watcher.completes("vllm-blue-0"))
        units(tmp_path, started + 40, active="failed")
        behaviour.status = 500
        eventually(lambda: watcher.completes("vllm-blue-0") is None)


def test_only_engines_that_have_to_prove_themselves_are_asked_to_complete(watcher: Watcher) -> None:
    behaviour, other = Behaviour(body=METRICS.encode()), Behaviour(key="k" * 64)
    with serving(behaviour) as port, serving(other) as second:
        watcher.set({"vllm-blue-0": port})
        watcher.prove({"vllm-blue-1": "tiny"})
        watcher.set({"vllm-blue-0": port, "vllm-blue-1": second})
        eventually(lambda: watcher.completes("vllm-blue-1"))
        assert {asked["path"] for asked in behaviour.asked} == {"/metrics"}
        watcher.prove({})
        time.sleep(0.2)
        count = len([1 for asked in other.asked if asked["path"] != "/metrics"])
        time.sleep(0.8)
        assert len([1 for asked in other.asked if asked["path"] != "/metrics"]) == count


def test_nothing_is_left_of_a_watcher(paths: Paths) -> None:
    threads, open_sockets = set(threading.enumerate()), sockets()
    silent = socket.create_server(("127.0.0.1", 0))
    behaviour = Behaviour(body=METRICS.encode())
    with silent, serving(behaviour) as port:
        watcher = Watcher(paths)
        for _ in range(20):
            watcher.set({"vllm-blue-0": port, "vllm-blue-1": silent.getsockname()[1]})
            watcher.set({})
        watcher.set({"vllm-blue-0": port, "vllm-blue-1": silent.getsockname()[1]})
        eventually(lambda: len(watcher.seen()) == 2)
        watcher.close()
        assert watcher.seen() == {}
        watcher.set({"vllm-blue-0": port})
        asked = len(behaviour.asked)
        time.sleep(1.2)
        assert len(behaviour.asked) == asked
    eventually(lambda: set(threading.enumerate()) <= threads)
    assert sockets() <= open_sockets


def test_a_key_that_is_missing_ends_no_watch(watcher: Watcher, paths: Paths) -> None:
    with serving(Behaviour(key="k" * 64)) as port:
        paths.upstream_key.unlink()
        watcher.set({"vllm-blue-0": port})
        watcher.prove({"vllm-blue-0": "tiny"})
        time.sleep(0.5)
        assert watcher.completes("vllm-blue-0") is None
        paths.upstream_key.write_text("k" * 64)
        eventually(lambda: watcher.completes("vllm-blue-0"))


def test_a_process_that_somebody_started_again_is_told_from_one_that_ended_by_itself(
    watcher: Watcher, tmp_path: Path
) -> None:
    units(tmp_path, 100.0)
    with serving(Behaviour(key="k" * 64)) as port:
        watcher.set({"vllm-blue-0": port})
        watcher.prove({"vllm-blue-0": "tiny"})
        eventually(lambda: watcher.completes("vllm-blue-0") and watcher.shown("vllm-blue-0"))
        watcher.prove({})
        time.sleep(0.5)
        assert not watcher.started_again("vllm-blue-0")
        units(tmp_path, 200.0)
        eventually(lambda: watcher.started_again("vllm-blue-0"))
        units(tmp_path, 200.0, restarts=1)
        eventually(lambda: not watcher.started_again("vllm-blue-0"))
