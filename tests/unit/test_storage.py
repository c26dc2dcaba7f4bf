"""A disk with anything on it is never formatted."""

from typing import Any

import pytest

from tandem.domain.storage import Verdict, filesystem_uuid, judge
from tandem.render.storage import mount_unit

UUID = filesystem_uuid("gpu1", "weights")
BLANK: dict[str, Any] = {
    "exists": True,
    "block": True,
    "bytes": 2**33,
    "label": "",
    "uuid": "",
    "type": "",
    "signature": "",
    "partitions": [],
    "data": False,
    "mounted": "",
}


def verdict(**seen: Any) -> Verdict:
    return judge("/dev/nvme1n1", "weights", UUID, {**BLANK, **seen})


def test_a_blank_disk_may_be_formatted() -> None:
    assert verdict() == Verdict(format=True)


def test_our_own_filesystem_is_taken_as_it_is() -> None:
    assert verdict(uuid=UUID, type="ext4", signature="ext4", data=True) == Verdict()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"exists": False}, "does not exist"),
        ({"block": False}, "is not a block device"),
        ({"partitions": ["nvme1n1p1"], "signature": "gpt"}, "has partitions (nvme1n1p1)"),
        ({"signature": "ext4", "label": "photos", "uuid": "1-2"}, "label photos and UUID 1-2; it was left as it is"),
        ({"signature": "LVM2_member"}, "holds LVM2_member"),
        ({"data": True}, "holds data that no tool recognises"),
    ],
)
def test_anything_else_is_refused_and_left_as_it_is(seen: dict[str, Any], words: str) -> None:
    result = verdict(**seen)
    assert not result.format
    assert words in result.refusal


def test_the_filesystem_id_is_the_same_for_the_same_host_and_another_for_another() -> None:
    assert filesystem_uuid("gpu1", "weights") == UUID != filesystem_uuid("gpu2", "weights")


def test_mount_units_are_named_as_systemd_demands() -> None:
    assert mount_unit("/srv/weights") == "srv-weights.mount"
    assert mount_unit("/srv/my-weights/") == "srv-my\\x2dweights.mount"
