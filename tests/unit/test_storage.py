"""A disk with anything on it is never formatted, unless the operator names its serial number and nobody uses it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.storage import Disk, Verdict, contents, filesystem_uuid, growth_bytes, judge, settled, slow
from tandem.hostside.disks import has_data
from tandem.render.storage import mount_unit

UUID = filesystem_uuid("gpu1", "weights")
GIB = 2**30
DISK = Disk("/dev/nvme1n1", "ext4", "weights", UUID, "/srv/weights", needed_bytes=4 * GIB)
BLANK: dict[str, Any] = {
    "exists": True,
    "block": True,
    "bytes": 8 * GIB,
    "read_only": False,
    "serial": "S1",
    "label": "",
    "uuid": "",
    "type": "",
    "signature": "",
    "filesystem_bytes": None,
    "partitions": [],
    "data": False,
    "uses": [],
    "unfinished": False,
    "mounted": "",
    "mounted_here": False,
    "elsewhere": "",
    "below": False,
    "read_mib_per_second": None,
}
OURS = {"uuid": UUID, "type": "ext4", "signature": "ext4", "label": "weights", "filesystem_bytes": 8 * GIB}
PHOTOS = {"signature": "ext4", "type": "ext4", "label": "photos", "uuid": "1-2"}
PART = {"name": "nvme1n1p1", "node": "/dev/nvme1n1p1", "bytes": GIB, "type": "ntfs", "label": "C", "uuid": "3"}


def verdict(erase: str | None = None, **seen: Any) -> Verdict:
    return judge(replace(DISK, erase=erase), {**BLANK, **seen})


def test_a_blank_disk_may_be_formatted() -> None:
    assert verdict() == Verdict(format=True)
    assert verdict(erase="S2") == Verdict(format=True)


def test_our_own_filesystem_is_taken_as_it_is() -> None:
    assert verdict(**OURS) == Verdict()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"exists": False}, "does not exist"),
        ({"exists": False, "elsewhere": "/dev/sdb"}, "the weights filesystem is on /dev/sdb"),
        ({"block": False}, "is not a block device"),
        ({"bytes": 0}, "has no size"),
        ({"read_only": True}, "is read-only; nothing was changed"),
        ({"bytes": 4 * GIB}, "has 4.0 GiB and 4.2 GiB is needed for the release's files"),
        ({"mounted": "/dev/sdb"}, "/srv/weights is the mount point of /dev/sdb, not of /dev/nvme1n1"),
        ({"elsewhere": "/dev/sdb"}, f"the weights filesystem (UUID {UUID}) is on /dev/sdb, not on /dev/nvme1n1"),
        ({"uses": ["/dev/nvme1n1 is swap"]}, "is in use (/dev/nvme1n1 is swap); it was left as it is"),
        ({**OURS, "type": "xfs"}, "storage/filesystem is ext4, but the weights filesystem on /dev/nvme1n1 is xfs"),
        ({**OURS, "filesystem_bytes": 9 * GIB}, "has 9.0 GiB, its device only 8.0 GiB"),
    ],
)
def test_a_disk_that_cannot_serve_is_refused_also_with_its_serial_number(seen: dict[str, Any], words: str) -> None:
    for erase in (None, "S1"):
        result = verdict(erase=erase, **seen)
        assert not result.format
        assert words in result.refusal


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (PHOTOS, "holds ext4 with label photos and UUID 1-2 (8.0 GiB); it was left as it is"),
        ({"signature": "gpt", "partitions": [PART]}, "partition nvme1n1p1: ntfs with label C and UUID 3 (1.0 GiB)"),
        ({"signature": "LVM2_member"}, "holds LVM2_member"),
        ({"data": True}, "holds data that no tool recognises"),
        ({"partitions": [PART]}, "holds partition nvme1n1p1"),
    ],
)
def test_a_disk_that_holds_anything_goes_by_its_own_serial_number_alone(seen: dict[str, Any], words: str) -> None:
    refusals = {
        "unasked": verdict(**seen),
        "another": verdict(erase="S2", **seen),
        "part of it": verdict(erase="S", **seen),
        "no serial": verdict(erase="S1", **{**seen, "serial": ""}),
        "in use": verdict(erase="S1", **{**seen, "uses": ["/dev/nvme1n1p1 is mounted at /"]}),
    }
    for why, result in refusals.items():
        assert not result.format, why
        assert words in result.refusal, why
    asked = verdict(erase="S1", **seen)
    assert (asked.format, asked.refusal) == (True, "")
    assert asked.destroys == contents({**BLANK, **seen}) != ()


def test_a_leftover_permission_erases_no_filesystem_that_tandem_made_under_another_name() -> None:
    ours = "7d3e3a52-52d2-5c5f-9f0a-3a8f6d5c7f11"
    result = verdict(erase="S1", signature="ext4", type="ext4", label="weights", uuid=ours)
    assert not result.format
    assert "Tandem made it, for another host name or label" in result.refusal


def test_a_leftover_permission_erases_nothing_of_ours() -> None:
    result = verdict(erase="S1", **OURS)
    assert not result.format
    assert "storage/erase is done" in result.remarks[0]


def test_only_our_own_unfinished_formatting_is_finished() -> None:
    assert verdict(unfinished=True, data=True).format
    assert verdict(unfinished=True, signature="ext4", type="ext4", uuid="").format
    assert not verdict(unfinished=True, signature="ext4", type="ext4", uuid="somebody-elses").format
    assert not verdict(unfinished=True, signature="xfs", type="xfs").format
    assert not verdict(unfinished=True, partitions=[PART]).format


def test_differences_that_do_no_harm_are_said() -> None:
    assert "has label photos, storage/label is weights" in verdict(**{**OURS, "label": "photos"}).remarks[0]
    assert "is hidden by the mount" in verdict(below=True).remarks[0]


@pytest.mark.parametrize(
    ("seen", "bytes_to_grow"),
    [
        ({**OURS, "filesystem_bytes": 7 * GIB}, GIB),
        ({**OURS, "filesystem_bytes": 8 * GIB - 2**20}, 0),
        ({**OURS, "filesystem_bytes": None}, 0),
        ({**PHOTOS, "filesystem_bytes": GIB}, 0),
    ],
)
def test_our_filesystem_grows_by_what_is_worth_it(seen: dict[str, Any], bytes_to_grow: int) -> None:
    assert growth_bytes(DISK, {**BLANK, **seen}) == bytes_to_grow


def test_a_disk_is_settled_once_it_is_mounted_whole_and_measured() -> None:
    done = {**BLANK, **OURS, "mounted": "/dev/nvme1n1", "mounted_here": True, "read_mib_per_second": 2000}
    assert settled(DISK, done)
    for missing in ({"mounted_here": False}, {"read_mib_per_second": None}, {"filesystem_bytes": GIB}, {"uuid": ""}):
        assert not settled(DISK, {**done, **missing})


def test_a_disk_slower_than_advised_is_said_with_what_that_costs() -> None:
    assert slow(DISK, 1000, 1000) == ""
    assert "reads 200 MiB/s" in slow(DISK, 200, 1000)
    assert "for 20 s at every start" in slow(DISK, 200, 1000)


@pytest.mark.parametrize("place", [0, 3 * 2**20, 32 * 2**20, 64 * 2**20 - 1])
def test_data_is_found_at_the_ends_and_between(tmp_path: Path, place: int) -> None:
    size_bytes = 64 * 2**20
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, size_bytes)
    assert not has_data(str(disk), size_bytes)
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert has_data(str(disk), size_bytes)


def test_the_filesystem_id_is_the_same_for_the_same_host_and_another_for_another() -> None:
    assert filesystem_uuid("gpu1", "weights") == UUID != filesystem_uuid("gpu2", "weights")


def test_mount_units_are_named_as_systemd_demands() -> None:
    assert mount_unit("/srv/weights") == "srv-weights.mount"
    assert mount_unit("/srv/my-weights/") == "srv-my\\x2dweights.mount"
