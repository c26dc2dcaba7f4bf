"""The guard, and what it keeps."""

from tandem.domain import slots
from tests.host.reading import Seen

GUARD = "tandem-guard.service"


def test_the_guard_watches_what_the_record_says(system: Seen) -> None:
    status = system["status"]
    assert status["guard"], "nothing is heard of it"
    assert 0 <= status["guard_age_seconds"] < 15
    asked = {
        slots.engine_unit(name, slots.card_of(name, port))
        for name, slot in status["slots"].items()
        for port in slot["asked"]
    }
    assert asked <= set(status["guard"]["engines"])
    assert {unit: one["fault"] for unit, one in status["guard"]["engines"].items() if unit in asked} == dict.fromkeys(
        asked, ""
    )


def test_the_guard_is_ended_when_it_hangs_and_has_few_rights(system: Seen) -> None:
    assert "WatchdogSec=" in system["texts"][GUARD]
    assert system["exposures"][GUARD] <= 4.0, system["exposures"][GUARD]


def test_what_is_asked_in_a_comparison_is_for_root_alone(system: Seen) -> None:
    for path in ("/etc/tandem/cases.json", "/etc/tandem/guard.json"):
        seen = system["tree"][path]
        assert (seen["mode"], seen["uid"], seen["gid"]) == ("0600", 0, 0), path


def test_only_the_engines_that_are_wanted_may_start(system: Seen) -> None:
    """Where two releases are on disk, those that must not start are parked."""
    status = system["status"]
    if status["rollout"] is None:
        for name, slot in status["slots"].items():
            for port in slot["engine_ports"]:
                unit = slots.engine_unit(name, slots.card_of(name, port))
                assert unit not in system["parked"]
