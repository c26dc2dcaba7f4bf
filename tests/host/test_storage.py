"""The weights disk."""

from tests.host.reading import Seen, directive, weights_directory


def test_the_weights_are_mounted_by_uuid_without_access_times(system: Seen, weights: Seen) -> None:
    """Without a disk of their own (`storage` left out) the weights are a folder of /, and no mount unit is there."""
    mounts = [system["units"][unit] for unit in system["owned"] if unit.endswith(".mount")]
    seen = weights["mount"]
    if not mounts:
        assert seen["target"] == "/"
        return
    (unit,) = mounts
    assert seen["target"] == unit["Where"]
    assert unit["ActiveState"] == "active"
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(seen["options"].split(","))
    assert f"/dev/disk/by-uuid/{seen['uuid']}" in system["texts"][unit["Id"]]


def test_unused_blocks_of_a_weights_disk_are_discarded_every_week(system: Seen) -> None:
    """That timers of ours are active and enabled is tested with the other units."""
    has_disk = any(unit.endswith(".mount") for unit in system["owned"])
    assert ("tandem-weights-trim.timer" in system["owned"]) == has_disk
    if has_disk:
        assert "OnCalendar=weekly" in system["texts"]["tandem-weights-trim.timer"]


def test_no_engine_starts_without_its_weights(system: Seen, engines: dict[str, Seen]) -> None:
    for name, one in engines.items():
        required = system["units"][f"{name}.service"]["RequiresMountsFor"].split()
        assert weights_directory(one["unit_file"]) in required
        assert directive(one["unit_file"], "Volume").startswith(f"{weights_directory(one['unit_file'])}/")
