"""What is done to units follows from their state alone."""

from typing import Any

import pytest

from tandem.domain.units import Unit, Work, compare

GOOD: dict[str, Any] = {
    "load": "loaded",
    "active": "active",
    "sub": "running",
    "result": "success",
    "enabled": "enabled",
    "reload_due": False,
    "condition_failed": False,
    "started": "aaaa",
    "served": "cccc rrrr",
    "revision": "rrrr",
}
EDGE = Unit("tandem-edge.service", started="aaaa", served="cccc")
ENGINE = Unit("vllm-blue-0.service", started="aaaa", enable=False, restart=False)


def work(unit: Unit, **seen: Any) -> Work:
    return compare([unit], {unit.name: {**GOOD, **seen}})


def test_a_unit_that_runs_as_wanted_needs_nothing() -> None:
    assert work(EDGE).sentences == []
    assert work(EDGE, active="reloading").sentences == []


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ({"enabled": "disabled"}, {"enable"}),
        ({"active": "inactive"}, {"start"}),
        ({"active": "failed", "result": "exit-code"}, {"start"}),
        ({"started": "bbbb"}, {"restart"}),
        ({"started": None}, {"restart"}),
        ({"served": "dddd rrrr"}, {"reload"}),
        ({"served": "cccc ssss"}, {"reload"}),
        ({"served": None}, {"reload"}),
        ({"started": "bbbb", "served": "dddd rrrr"}, {"restart"}),
        ({"active": "inactive", "started": "bbbb"}, {"start"}),
    ],
)
def test_each_difference_has_its_one_cure(seen: dict[str, Any], done: set[str]) -> None:
    result = work(EDGE, **seen)
    assert {verb for verb in ("enable", "restart", "start", "reload") if getattr(result, verb)} == done
    assert len(result.sentences) == 1


@pytest.mark.parametrize("seen", [{"reload_due": True}, {"load": "not-found", "active": "inactive"}])
def test_a_unit_file_that_systemd_has_not_read_is_read(seen: dict[str, Any]) -> None:
    assert work(EDGE, **seen).daemon_reload


def test_an_engine_that_runs_an_older_definition_is_left_alone_and_said() -> None:
    result = work(ENGINE, started="bbbb", enabled="generated")
    assert (result.restart, result.sentences) == ([], [])
    assert "upgrade is due" in result.kept[0]


def test_a_stopped_engine_is_started() -> None:
    assert work(ENGINE, active="inactive").start == [ENGINE.name]


def test_a_unit_whose_condition_failed_is_where_it_should_be() -> None:
    time_sync = Unit("systemd-timesyncd.service")
    assert work(time_sync, active="inactive", condition_failed=True).sentences == []


def test_what_a_change_costs_users_is_known_before_it_is_made() -> None:
    edge = Unit("tandem-edge.service", "aaaa", "cccc", reload_loss="one in ten", restart_loss="30 s")
    assert work(edge).losses == []
    assert work(edge, served="dddd rrrr").losses == ["one in ten"]
    assert work(edge, started="bbbb").losses == ["30 s"]
    assert work(edge, active="inactive").losses == []
