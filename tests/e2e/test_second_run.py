"""Promise P1: a second run changes nothing and restarts nothing, and is cheap."""

import pytest

from tandem.rehearsal.rootfs import Host
from tests.e2e.install import Ended, install
from tests.e2e.units import OURS, units

MOST_COMMANDS = 25


@pytest.fixture(scope="module")
def second(machine: Host) -> tuple[Ended, dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """The second of two runs, with the units of the host before and after it."""
    first = install(machine.name)
    assert first.status == 0, first.output
    before = units(machine, *OURS)
    return install(machine.name), before, units(machine, *OURS)


def test_nothing_is_changed(second: tuple[Ended, object, object]) -> None:
    run = second[0]
    assert run.status == 0, run.output
    assert (run.end["changed"], run.end["failed"]) == ([], [])
    assert [event for event in run.events if event["event"] == "note"] == []


def test_at_most_25_commands_are_sent(second: tuple[Ended, object, object]) -> None:
    end = second[0].end
    print(f"{end['commands']} commands, {end['seconds']} s")
    assert end["commands"] <= MOST_COMMANDS


def test_no_unit_is_started_stopped_or_restarted(
    second: tuple[Ended, dict[str, dict[str, str]], dict[str, dict[str, str]]],
) -> None:
    _, before, after = second
    assert len(before) >= 6
    assert after == before
