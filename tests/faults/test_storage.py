"""The weights disk: what is refused keeps every byte, what is asked for by serial goes, and what is there grows."""

import copy
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tandem.commands import program_source
from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.deploying import Ended, Workplace
from tests.faults.disks import DISK, NAME, SERIAL, SMALL_BYTES, UUID, WEIGHTS, DiskHost, may_resize_ext4
from tests.faults.refusals import refused


@pytest.fixture(scope="module")
def there() -> Iterator[DiskHost]:
    host.remove(STATE, NAME)
    host.create(STATE, NAME, lambda _sentence: None)
    host.boot(STATE, NAME)
    found = DiskHost(NAME)
    tools = "e2fsprogs xfsprogs fdisk"
    quiet = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    found.shell(f"{quiet} update >/dev/null; {quiet} install -y --no-install-recommends {tools} >/dev/null 2>&1")
    yield found
    host.remove(STATE, NAME)


@pytest.fixture
def disk(there: DiskHost) -> DiskHost:
    """The host with a blank disk."""
    there.blank()
    return there


def deploy(workplace: Workplace, changes: dict[str, Any] | None = None, **storage: Any) -> Ended:
    """One run of the storage step with these options."""
    declared = {"device": DISK, "advised_read_mib_per_second": 1, **storage}
    inventory = workplace.inventory(NAME, {"storage": declared, **(changes or {})})
    return workplace.run(inventory, "tests/faults/deploys/storage.py")


@contextmanager
def no_byte_changes(disk: DiskHost) -> Iterator[None]:
    before = disk.digest()
    yield
    assert disk.digest() == before, "the disk was written to"
    assert disk.shell(f"mountpoint -q {WEIGHTS} && echo mounted || true") == ""


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_blank_disk_is_formatted_mounted_measured_and_then_left_alone(
    disk: DiskHost, workplace: Workplace, kind: str
) -> None:
    first = deploy(workplace, filesystem=kind)
    assert first.status == 0, first.output
    assert f"formatted the blank disk {DISK} (0.5 GiB) as {kind} with label weights" in first.notes
    assert disk.filesystem() == f"LABEL=weights TYPE={kind} UUID={UUID}"
    mounted = disk.mounted()
    assert (mounted["fstype"], mounted["uuid"]) == (kind, UUID)
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(mounted["options"].split(","))
    record = json.loads(disk.shell("cat /var/lib/tandem/storage.json"))
    assert record["filesystems"][UUID]["read_mib_per_second"] > 0
    assert re.search(rf"{WEIGHTS} reads \d+ MiB/s", first.output)
    assert disk.shell(f"ls -A {WEIGHTS}").split() in ([], ["lost+found"])
    second = deploy(workplace, filesystem=kind)
    assert (second.status, second.changed) == (0, []), second.output
    assert json.loads(disk.shell("cat /var/lib/tandem/storage.json")) == record


def test_unused_blocks_are_discarded_every_week(disk: DiskHost, workplace: Workplace) -> None:
    assert deploy(workplace).status == 0
    shown = disk.shell("systemctl show --property=ActiveState,UnitFileState tandem-weights-trim.timer | xargs").strip()
    assert shown == "ActiveState=active UnitFileState=enabled"
    disk.shell(
        f"dd if=/dev/urandom of={WEIGHTS}/gone bs=1M count=200 conv=fsync status=none\n"
        f"rm {WEIGHTS}/gone; sync -f {WEIGHTS}"
    )
    before = disk.image.stat().st_blocks
    disk.shell("systemctl start tandem-weights-trim.service")
    assert before - disk.image.stat().st_blocks > 150 * 2**20 / 512


SIGNED = {
    "a filesystem": (f"mkfs.ext4 -q -L photos {DISK}", "holds ext4 with label photos and UUID"),
    "swap": (f"mkswap --quiet --label old {DISK}", "holds swap with label old"),
    "data that nobody knows": (
        f"head -c 1000 /dev/urandom | dd of={DISK} bs=1M seek=1 status=none",
        "holds data that no tool recognises (0.5 GiB)",
    ),
}


@pytest.mark.parametrize("what", SIGNED)
def test_a_disk_that_holds_anything_keeps_every_byte(disk: DiskHost, workplace: Workplace, what: str) -> None:
    script, words = SIGNED[what]
    disk.shell(script)
    with no_byte_changes(disk):
        refused(deploy(workplace), words, "it was left as it is", f"set storage/erase to {SERIAL} to destroy all of it")


def test_a_disk_with_partitions_is_erased_only_by_its_serial(disk: DiskHost, workplace: Workplace) -> None:
    disk.partition()
    disk.shell(f"mkfs.ext4 -q -L photos {DISK}p1; /usr/local/lib/rehearsal/disk-links")
    words = ("holds gpt", "partition nvme1n1p1: ext4 with label photos", "(0.4 GiB)")
    with no_byte_changes(disk):
        refused(deploy(workplace), *words, "it was left as it is")
        refused(deploy(workplace, erase="nvme1n10"), *words, f"serial number is {SERIAL}")
        disk.shell(f"mkdir -p /mnt/photos; mount -o ro,noload {DISK}p1 /mnt/photos")
        used = f"{DISK}p1 is mounted at /mnt/photos"
        refused(deploy(workplace, erase=SERIAL), *words, used, "a disk in use is never erased")
        disk.shell("umount /mnt/photos")
    ended = deploy(workplace, erase=SERIAL, filesystem="xfs")
    assert ended.status == 0, ended.output
    said = f"destroyed on {DISK} \\(serial number {SERIAL}\\): partition nvme1n1p1: ext4 with label photos and UUID .*"
    assert [note for note in ended.notes if re.fullmatch(said, note)]
    assert disk.filesystem() == f"LABEL=weights TYPE=xfs UUID={UUID}"
    disk.shell(f"echo kept >{WEIGHTS}/model")
    again = deploy(workplace, erase=SERIAL, filesystem="xfs")
    assert (again.status, again.changed) == (0, []), again.output
    assert "storage/erase is done" in again.output
    assert disk.shell(f"cat {WEIGHTS}/model").strip() == "kept"


def test_the_plan_says_what_would_be_destroyed(disk: DiskHost, workplace: Workplace) -> None:
    disk.shell(f"mkfs.xfs -q -L films {DISK}")
    with no_byte_changes(disk):
        inventory = workplace.inventory(NAME, {"storage": {"device": DISK, "erase": SERIAL}})
        planned = workplace.run(inventory, "tests/faults/deploys/storage.py", "--dry")
    assert planned.status == 0, planned.output
    assert f"to be destroyed on {DISK} (serial number {SERIAL}): xfs with label films" in planned.output


def test_a_disk_that_another_program_holds_is_never_erased(disk: DiskHost, workplace: Workplace) -> None:
    disk.shell(f"mkfs.ext4 -q {DISK}")
    hold = f"import os, time; os.open('{DISK}', os.O_RDONLY | os.O_EXCL); time.sleep(60)"
    with no_byte_changes(disk):
        disk.shell(f'systemd-run --quiet --collect --unit=holder python3 -c "{hold}"; sleep 0.5')
        refused(deploy(workplace, erase=SERIAL), "another program or the kernel holds it", "is never erased")
        disk.shell("systemctl stop holder")


def test_a_partition_may_be_the_weights_disk(disk: DiskHost, workplace: Workplace) -> None:
    disk.partition()
    ended = deploy(workplace, device=f"{DISK}p1")
    assert ended.status == 0, ended.output
    assert disk.filesystem(f"{DISK}p1") == f"LABEL=weights TYPE=ext4 UUID={UUID}"
    assert deploy(workplace, device=f"{DISK}p1").changed == []
    with_disk = deploy(workplace, erase=SERIAL)
    refused(with_disk, f"the weights filesystem (UUID {UUID}) is on {DISK}p1, not on {DISK}")
    assert disk.mounted()["uuid"] == UUID
    disk.shell(f"umount {WEIGHTS}")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_filesystem_grows_with_its_disk(disk: DiskHost, workplace: Workplace, kind: str) -> None:
    assert deploy(workplace, filesystem=kind).status == 0
    disk.shell(f"echo kept >{WEIGHTS}/model")
    before = disk.mounted()["size"]
    disk.resize(2 * SMALL_BYTES)
    ended = deploy(workplace, filesystem=kind)
    assert ended.notes == [f"grew the weights filesystem on {DISK} from 0.5 GiB to 1.0 GiB"]
    assert disk.shell(f"cat {WEIGHTS}/model").strip() == "kept"
    if kind == "ext4" and not may_resize_ext4():
        refused(ended, "Permission denied to resize filesystem", "the filesystem keeps its size and can be used")
        assert disk.mounted()["size"] == before
        return
    assert ended.status == 0, ended.output
    assert disk.mounted()["size"] > 1.8 * before
    assert deploy(workplace, filesystem=kind).changed == []


def test_a_slow_disk_is_said_at_every_run(disk: DiskHost, workplace: Workplace) -> None:
    for _ in range(2):
        ended = deploy(workplace, advised_read_mib_per_second=10**6)
        assert ended.status == 0, ended.output
        assert f"note: {DISK} reads" in ended.output
        assert "less than the 1000000 MiB/s of storage/advised_read_mib_per_second" in ended.output


def test_what_is_ours_but_not_as_declared_is_said_and_left(disk: DiskHost, workplace: Workplace) -> None:
    assert deploy(workplace).status == 0
    disk.shell(f"umount {WEIGHTS}")
    with no_byte_changes(disk):
        refused(
            deploy(workplace, filesystem="xfs"), "storage/filesystem is xfs, but the weights filesystem on", "is ext4"
        )
        refused(deploy(workplace, label="models"), f"holds ext4 with label weights and UUID {UUID}")
    ended = deploy(workplace, label="models", uuid=UUID)
    assert ended.status == 0, ended.output
    assert "has label weights, storage/label is models; it is used as it is" in ended.output


def test_a_disk_that_cannot_hold_the_weights_is_refused(disk: DiskHost, workplace: Workplace) -> None:
    releases = copy.deepcopy(dict(hosts(STATE))[NAME]["releases"])
    releases["a"]["model"]["manifest"]["files"]["config.json"]["bytes"] = 14 * 2**30
    with no_byte_changes(disk):
        refused(deploy(workplace, {"releases": releases}), "has 0.5 GiB and 14.8 GiB is needed", "name a larger disk")
        disk.shell(f"blockdev --setro {DISK}")
        refused(deploy(workplace), f"{DISK} is read-only; nothing was changed")
        disk.shell(f"blockdev --setrw {DISK}")
        refused(deploy(workplace, device="/dev/nvme9n1"), "/dev/nvme9n1 does not exist; nothing was changed")
        refused(deploy(workplace, device="/dev/null"), "/dev/null is not a block device")
        refused(deploy(workplace, device="/etc/hostname"), "/etc/hostname is not a block device")
    assert disk.shell("ls /etc/systemd/system/srv-weights.mount 2>/dev/null || true") == ""


def test_another_disk_at_the_mount_point_is_refused(disk: DiskHost, workplace: Workplace) -> None:
    disk.shell(f"mkdir -p {WEIGHTS}; mount -t tmpfs none {WEIGHTS}")
    refused(deploy(workplace), f"{WEIGHTS} is the mount point of", f"not of {DISK}; nothing was changed")
    disk.shell(f"umount {WEIGHTS}")


def test_a_formatting_that_was_cut_short_is_finished(disk: DiskHost, workplace: Workplace) -> None:
    """The power goes while mkfs runs: the disk is neither blank nor a filesystem; the record says that it was us."""
    begun = {"uuid": UUID, "serial": SERIAL, "bytes": SMALL_BYTES}
    disk.shell(f"head -c 5000 /dev/urandom | dd of={DISK} bs=4k seek=9 status=none; mkdir -p /var/lib/tandem")
    refused(deploy(workplace), "holds data that no tool recognises")
    disk.shell(f"echo '{json.dumps({'formatting': begun})}' >/var/lib/tandem/storage.json")
    ended = deploy(workplace)
    assert ended.status == 0, ended.output
    assert disk.filesystem() == f"LABEL=weights TYPE=ext4 UUID={UUID}"
    assert deploy(workplace).changed == []


def test_an_unmounted_disk_is_never_filled(disk: DiskHost, workplace: Workplace) -> None:
    """The disk is gone: neither what needs its mount starts, nor are model files written to the folder below."""
    assert deploy(workplace).status == 0
    disk.shell(f"systemctl stop srv-weights.mount; wipefs --quiet --all {DISK}; /usr/local/lib/rehearsal/disk-links")
    # As the engines' units say it.
    unit = f"[Unit]\\nRequiresMountsFor={WEIGHTS}\\n[Service]\\nExecStart=/usr/bin/touch {WEIGHTS}/by-a-unit\\n"
    disk.shell(f"printf '{unit}' >/run/systemd/system/needs.service; systemctl daemon-reload")
    assert disk.shell("systemctl start needs 2>/dev/null && echo ran || echo refused").strip() == "refused"
    manifest = dict(hosts(STATE))[NAME]["releases"]["a"]["model"]["manifest"]
    job = {
        "directory": WEIGHTS,
        "repository": manifest["repository"],
        "revision": manifest["revision"],
        "files": manifest["files"],
        "sources": [{"kind": "folder", "path": "/opt/rehearsal/models"}],
        "parallel_downloads": 1,
        "stall_timeout_seconds": 5,
        "mounted": True,
    }
    fetch = f"echo {shlex.quote(json.dumps(job))} | python3 -I -c {shlex.quote(program_source('fetch_weights'))}"
    assert f"{WEIGHTS} is not mounted" in disk.shell(f"{fetch} 2>&1 || true")
    assert disk.shell(f"ls -A {WEIGHTS}") == ""
