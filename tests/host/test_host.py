"""Folders, users, kernel settings, Tandem's own program, and no server but ours."""

from tandem.domain.slots import UIDS
from tests.host.reading import Seen


def test_every_owned_path_is_there(system: Seen) -> None:
    missing = [path for path, seen in system["manifest"].items() if seen["kind"] == "missing"]
    assert system["manifest"]
    assert not missing


def test_nothing_owned_can_be_written_by_others(system: Seen) -> None:
    everything = {**system["manifest"], **system["program"], **system["tree"]}
    loose = {path for path, seen in everything.items() if seen["kind"] != "link" and int(seen["mode"], 8) & 0o022}
    assert not loose


def test_no_unfinished_file_is_left(system: Seen) -> None:
    assert not system["leftovers"]


def test_the_service_users_have_their_numbers_and_no_shell(system: Seen) -> None:
    assert system["users"] == {name: [uid, "/usr/sbin/nologin"] for name, uid in UIDS.items()}


def test_kernel_settings_are_in_force(system: Seen) -> None:
    assert system["settings"]
    assert {name: now for name, (wanted, now) in system["settings"].items() if now != wanted} == {}


def test_debians_own_nginx_is_masked_and_off(system: Seen) -> None:
    nginx = system["units"]["nginx.service"]
    assert (nginx["LoadState"], nginx["ActiveState"]) == ("masked", "inactive")
    assert "nginx.service" not in system["owned"]


def test_the_clock_is_kept_or_is_somebody_elses(system: Seen) -> None:
    """In a container the clock is the machine's: systemd then declines to start the service."""
    clock = system["units"]["systemd-timesyncd.service"]
    assert clock["UnitFileState"] == "enabled"
    assert clock["ActiveState"] == "active" or clock["ConditionResult"] == "no"


def test_units_are_active_and_read_as_they_are_on_disk(system: Seen) -> None:
    owned = {unit: system["units"][unit] for unit in system["owned"]}
    assert len(owned) >= 6
    wanted = ("loaded", "active", "success", "no")
    wrong = {
        unit: seen
        for unit, seen in owned.items()
        if (seen["LoadState"], seen["ActiveState"], seen["Result"], seen["NeedDaemonReload"]) != wanted
    }
    assert not wrong


def test_units_start_at_boot(system: Seen) -> None:
    """Units that Quadlet generates are enabled by their [Install] section, which the generator turns into links."""
    states = {unit: system["units"][unit]["UnitFileState"] for unit in system["owned"]}
    assert {unit: state for unit, state in states.items() if state not in ("enabled", "generated")} == {}
    generated = [unit for unit, state in states.items() if state == "generated"]
    assert all("WantedBy=multi-user.target" in system["texts"][unit] for unit in generated)


def test_no_unit_had_to_be_restarted_by_systemd(system: Seen) -> None:
    assert {unit: n for unit in system["owned"] if (n := system["units"][unit].get("NRestarts", "0")) != "0"} == {}


def test_tandemctl_is_the_current_program_and_says_that_a_release_serves(system: Seen) -> None:
    current = system["program"]["/usr/local/lib/tandem/current"]
    assert current["kind"] == "link"
    assert f"/usr/local/lib/tandem/{current['target']}/tandem/hostside/tandemctl.py" in system["program"]
    assert {seen["uid"] for seen in system["program"].values()} == {0}
    status = system["status"]
    assert (status["state"], status["held"], status["lock_holder"]) == ("idle", None, None)
    assert status["slots"][status["serving"]]["weight"] == 100


def test_the_record_is_what_tandemctl_says(system: Seen) -> None:
    assert {key: system["status"][key] for key in system["state"]} == system["state"]
