"""A fault is seen when there is one, and never in an engine that is well."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tandem.domain.watch import MOST_GAP_SECONDS, Look, Vital, observe

HANG = 30.0
WELL = Look(0, "active", answered=True, tokens=0.0)


def after(*looks: Look, vital: Vital | None = None) -> Vital:
    vital = vital or Vital("vllm-green-1")
    for look in looks:
        vital = observe(vital, look, HANG)
    return vital


def each_second(look: Look, count: int, start: float = 1.0) -> list[Look]:
    return [replace(look, boot_seconds=start + second) for second in range(count)]


def test_work_without_a_token_is_a_fault_after_the_longest_prefill() -> None:
    stuck = replace(WELL, running=2, waiting=1, tokens=50.0)
    assert after(WELL, *each_second(stuck, 31)).fault == ""
    vital = after(WELL, *each_second(stuck, 32))
    assert vital.fault == "vllm-green-1 has 3 requests and made no token for 31 s"


@pytest.mark.parametrize(("tokens", "running"), [(51.0, 1.0), (50.0, 0.0)])
def test_a_token_or_the_end_of_the_work_begins_the_count_anew(tokens: float, running: float) -> None:
    stuck = replace(WELL, running=1, tokens=50.0)
    vital = after(*each_second(stuck, 29), replace(stuck, boot_seconds=30.0, tokens=tokens, running=running))
    assert after(*each_second(stuck, 30, 31.0), vital=vital).fault == ""
    assert after(*each_second(stuck, 33, 31.0), vital=vital).fault.startswith("vllm-green-1 has 1 request and made no")


def test_a_hang_stays_a_fault_while_its_counters_are_not_said() -> None:
    vital = after(*each_second(replace(WELL, running=1, tokens=5.0), 40))
    assert vital.fault
    assert after(replace(WELL, boot_seconds=41.0, answered=False), vital=vital).fault == vital.fault


def test_work_is_judged_by_answers_only() -> None:
    busy = replace(WELL, running=1, tokens=5.0)
    slow = [*each_second(busy, 20), *each_second(replace(WELL, answered=False, tokens=None), 20, 21.0)]
    vital = after(*slow)
    assert vital.fault == ""
    assert after(replace(busy, boot_seconds=41.0, tokens=9.0), vital=vital).fault == ""
    assert after(replace(busy, boot_seconds=41.0), vital=vital).fault.endswith("made no token for 40 s")


def test_three_refusals_in_a_row_are_a_fault_until_it_answers() -> None:
    refused = Look(0, "active", refused=True)
    vital = after(WELL, *each_second(refused, 2))
    assert vital.fault == ""
    assert after(replace(WELL, boot_seconds=3.0), *each_second(refused, 2, 4.0), vital=vital).fault == ""
    vital = after(replace(refused, boot_seconds=3.0), vital=vital)
    assert vital.fault == "vllm-green-1 refused the last 3 connections"
    assert after(replace(WELL, boot_seconds=4.0), vital=vital).fault == ""


def test_an_engine_that_loads_is_well_however_long_it_takes() -> None:
    loading = Look(0, "active", refused=True)
    assert after(*each_second(loading, 900)).fault == ""
    assert after(*each_second(replace(loading, refused=False), 900)).fault == ""
    assert after(*each_second(loading, 3), vital=Vital("vllm-blue-0", proven=True)).fault


def test_an_open_port_that_says_nothing_is_a_fault_after_the_longest_prefill() -> None:
    silent = Look(0, "active")
    assert after(WELL, *each_second(silent, 31)).fault == ""
    assert after(WELL, *each_second(silent, 32)).fault == (
        "vllm-green-1 accepts connections and has not said its counters for 31 s"
    )


@pytest.mark.parametrize("state", ["inactive", "activating", "deactivating"])
def test_a_unit_that_ended_is_a_fault_and_one_that_starts_is_not(state: str) -> None:
    assert after(*each_second(Look(0, state, refused=True), 5)).fault == ""
    vital = after(WELL, Look(1, state, refused=True))
    assert vital.fault == f"vllm-green-1 does not run any more: its unit is {state}"


def test_a_failed_unit_is_a_fault_at_once() -> None:
    assert after(Look(1, "failed", refused=True)).fault == "the unit of vllm-green-1 has failed"


def test_an_automatic_restart_is_never_forgotten() -> None:
    vital = after(replace(WELL, restarts=2), replace(WELL, boot_seconds=1.0, restarts=3))
    assert vital.fault == "vllm-green-1 ended by itself and was started again 1 time"
    assert after(replace(WELL, boot_seconds=2.0, restarts=3, tokens=9.0), vital=vital).fault == vital.fault
    assert after(replace(WELL, restarts=3)).fault == ""


def test_a_count_that_began_anew_is_no_restart_and_the_next_one_is() -> None:
    vital = after(replace(WELL, restarts=5), replace(WELL, boot_seconds=1.0, restarts=0))
    assert vital.fault == ""
    assert after(replace(WELL, boot_seconds=2.0, restarts=1), vital=vital).fault


def test_a_systemd_that_cannot_be_asked_makes_no_fault() -> None:
    unknown = replace(WELL, unit="", restarts=0)
    vital = after(replace(WELL, restarts=2), *each_second(unknown, 5), replace(WELL, boot_seconds=6.0, restarts=2))
    assert vital.fault == ""


@pytest.mark.parametrize("jump", [MOST_GAP_SECONDS + 1, 3600.0, -3600.0])
@pytest.mark.parametrize("look", [replace(WELL, running=1), Look(0, "active"), Look(0, "active", refused=True)])
def test_a_host_that_slept_or_a_clock_that_jumped_makes_no_fault(look: Look, jump: float) -> None:
    count = 2 if look.refused else 20
    vital = after(replace(WELL, running=1), *each_second(look, count))
    vital = after(*each_second(look, count, count + jump), vital=vital)
    assert vital.fault == ""
    assert after(*each_second(look, 35, 2 * count + jump), vital=vital).fault


class Healthy:
    """An engine that is well: it loads, has work at times, prefills for less than the limit, is slow to say so, is
    looked at late, sleeps with its host; its clock is set back.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.now = self.random.uniform(0, 1e5)
        self.tokens = 0.0
        self.running = self.waiting = 0
        self.next_token = self.now

    def looks(self, count: int) -> Iterator[Look]:
        pick = self.random
        restarts = pick.randrange(3)
        for unit in ["inactive", "", *["activating"] * 3, *["active"] * pick.randrange(200)]:
            self._pass()
            yield Look(self.now, unit, restarts if unit else 0, refused=True)
        for _ in range(count):
            self._pass()
            self._work()
            unit = pick.choices(["active", "reloading", ""], [9, 1, 1])[0]
            known = restarts if unit else 0
            for _ in range(pick.choice([0] * 50 + [1, 2])):
                yield Look(self.now, unit, known, refused=True)
                self._pass(quiet=True)
            silent_until = self.now + pick.choice([0] * 50 + [HANG - 4])
            while self.now < silent_until:
                yield Look(self.now, unit, known)
                self._pass(quiet=True)
            self._make_tokens()
            yield Look(self.now, unit, known, False, True, self.running, self.waiting, self.tokens)

    def _pass(self, quiet: bool = False) -> None:
        step = self.random.uniform(0.9, 3.0)
        if not quiet:
            step = self.random.choices([step, 29.0, 600.0, -500.0], [100, 1, 1, 1])[0]
        self.now += step
        # It slept too, and its clock was set back too.
        if not 0 <= step <= MOST_GAP_SECONDS:
            self.next_token += step

    def _work(self) -> None:
        pick = self.random
        if not self.running + self.waiting:
            if pick.random() < 0.3:
                self.running, self.waiting = pick.randrange(1, 9), pick.choice([0, 0, 5])
                self.next_token = self.now + pick.choice([0.1, HANG - 0.5])
            return
        if pick.random() < 0.1:
            self.running = self.waiting = 0

    def _make_tokens(self) -> None:
        while self.running and self.next_token <= self.now:
            self.tokens += self.random.randrange(1, 4000)
            self.next_token += self.random.choice([0.05] * 40 + [5.0, HANG - 0.5])


@pytest.mark.parametrize("seed", range(100))
def test_an_engine_that_is_well_never_has_a_fault(seed: int) -> None:
    vital = Vital("vllm-blue-0")
    for look in Healthy(seed).looks(300):
        vital = observe(vital, look, HANG)
        assert vital.fault == ""


@pytest.mark.parametrize("seed", range(50))
def test_an_engine_that_hangs_at_any_moment_of_its_life_is_found(seed: int) -> None:
    vital = Vital("vllm-blue-0")
    look = WELL
    for look in Healthy(seed).looks(50 + seed):
        vital = observe(vital, look, HANG)
    hung = replace(look, unit="active", restarts=vital.restarts or 0, running=1.0)
    for second in range(1, 40):
        vital = observe(vital, replace(hung, boot_seconds=look.boot_seconds + second), HANG)
        if vital.fault:
            break
    assert "made no token for" in vital.fault
    assert second <= HANG + 3


def test_a_unit_that_is_stopped_or_started_again_by_order_is_called_that() -> None:
    stops = replace(WELL, unit="deactivating", ordered=True)
    vital = after(WELL, replace(stops, boot_seconds=1.0))
    assert vital.fault == "vllm-green-1 was told to stop or to start again: its unit is deactivating"
    fails = after(WELL, replace(stops, boot_seconds=1.0, ordered=False))
    assert fails.fault == "vllm-green-1 does not run any more: its unit is deactivating"
