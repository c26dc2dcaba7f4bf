"""A blank host -> driver -> reboot -> CUDA in a container, from a signed repository, DKMS builds and all; refusals.

The tests go on from each other's host: what was refused must have left it as it was.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem.rehearsal import apt, host
from tandem.rehearsal.inventory import STATE, hosts
from tandem.rehearsal.nvidia_packages import BROKEN
from tests.faults.cards import CARDS, DRIVER, boot_id, installed, make, steer
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import refused

STEPS = "tests/faults/deploys/gpu.py"


@pytest.fixture(scope="module")
def blank() -> Iterator[OnHost]:
    """A host with two cards and nothing installed for them, for these tests alone."""
    yield make()
    host.remove(STATE, CARDS)


def run(workplace: Workplace, **changes: Any) -> Ended:
    """One run of the steps for the cards with changes to the inventory's ``gpu``."""
    gpu = dict(hosts(STATE))[CARDS]["gpu"]
    return workplace.run(workplace.inventory(CARDS, {"gpu": {**gpu, **changes}}), STEPS)


def repositories(*folders: str, key: str = "") -> list[dict[str, str]]:
    """``apt`` is the inventory's own, under its name there."""
    names = {"apt": "cuda", "apt-broken": "broken"}
    return [
        {"name": names[folder], "url": f"file:/opt/rehearsal/{folder}", "key": key or apt.key(STATE)}
        for folder in folders
    ]


def test_cards_are_on_the_bus_of_a_host_without_a_driver(blank: OnHost) -> None:
    listed = blank.shell("cd /sys/bus/pci/devices; for card in *; do cat $card/vendor $card/class | xargs; done")
    assert listed.splitlines().count("0x10de 0x030000") == 2
    assert installed(blank, *DRIVER) == []
    assert blank.shell("ls /proc/driver/nvidia /dev/nvidia0 /run/cdi 2>/dev/null || true") == ""
    kernels = [path.removeprefix("/boot/vmlinuz-") for path in blank.shell("ls /boot/vmlinuz-*").split()]
    assert blank.shell("cat /proc/sys/kernel/osrelease").strip() in kernels


def test_a_repository_that_another_key_signed_is_refused(blank: OnHost, workplace: Workplace, tmp_path: Path) -> None:
    with apt.signing_key(tmp_path / "gpg") as home:
        another = apt.public_key(home)
    ended = run(workplace, repositories=repositories("apt", key=another))
    refused(ended, "signature", "Nothing of the driver was installed or changed")
    assert installed(blank, *DRIVER) == []


def test_a_branch_that_no_source_has_is_refused(blank: OnHost, workplace: Workplace) -> None:
    ended = run(workplace, driver_branch="590")
    refused(ended, "not of branch 590", "gpu/driver_branch")
    assert installed(blank, *DRIVER) == []


def test_a_driver_that_does_not_compile_is_stopped_with_the_first_error(blank: OnHost, workplace: Workplace) -> None:
    before = boot_id(blank)
    ended = run(workplace, repositories=repositories("apt", "apt-broken"), driver_version=BROKEN)
    refused(
        ended, "nvidia.c:", "error: too few arguments to function", "Nothing of the driver was installed or changed"
    )
    assert installed(blank, *DRIVER) == []
    assert blank.shell("find /lib/modules -name 'nvidia*.ko*'") == ""
    assert boot_id(blank) == before


def test_a_reboot_that_is_not_allowed_is_asked_for(blank: OnHost, workplace: Workplace) -> None:
    before = boot_id(blank)
    ended = run(workplace, allow_reboot=False)
    refused(ended, "gpu/allow_reboot is False", "reboot", "run the same command again")
    assert boot_id(blank) == before
    held = blank.shell("apt-mark showhold").split()
    assert {"nvidia-kernel-open-dkms", "libcuda1", "linux-image-cloud-amd64"} <= set(held)
    # Without the pin the other branch would be newer.
    assert "580.159.04" in blank.shell("modinfo -F version /lib/modules/*/updates/dkms/nvidia.ko*")


def test_it_goes_on_over_a_reboot_to_cuda_in_a_container(blank: OnHost, workplace: Workplace) -> None:
    before = boot_id(blank)
    ended = run(workplace)
    assert ended.status == 0, ended.output
    assert boot_id(blank) != before
    assert "580.159.04" in blank.shell("cat /proc/driver/nvidia/version")
    assert blank.shell("ls /run/cdi").split() == ["nvidia.yaml"]
    assert "CUDA counts 2 cards in the engine's container" in ended.output
    again = run(workplace)
    assert (again.status, again.changed) == (0, []), again.output


def test_a_cuda_error_in_the_container_is_said_in_words(blank: OnHost, workplace: Workplace) -> None:
    blank.shell("echo 803 >/etc/rehearsal/cuda-error; rm /var/lib/tandem/cuda-proof.json")
    ended = run(workplace)
    refused(ended, "cuInit failed with CUDA error 803", "do not match")
    blank.shell("rm /etc/rehearsal/cuda-error")
    ended = run(workplace)
    assert ended.status == 0, ended.output


@pytest.mark.parametrize(
    ("state", "command", "shown"),
    [
        ("one card", "ls /sys/bus/pci/devices | grep -c '\\.0$'", "1"),
        ("slow link", "cat /sys/bus/pci/devices/0000:41:00.0/current_link_width", "4"),
        ("nouveau", "cat /sys/module/nouveau/initstate; test ! -e /proc/driver/nvidia", "live"),
        ("secure boot", "od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*", "1"),
        ("mismatch", "nvidia-smi || true", "Driver/library version mismatch"),
        ("lost card", "nvidia-smi || true", "GPU is lost"),
        ("xid", "journalctl -b -t kernel -o cat --grep 'NVRM: Xid'", "79"),
    ],
)
def test_cards_can_be_put_into_each_state_and_back(blank: OnHost, state: str, command: str, shown: str) -> None:
    there = blank.shell("nvidia-smi --query-gpu=index,driver_version --format=csv,noheader")
    steer(blank, state)
    try:
        assert shown in blank.shell(command)
    finally:
        steer(blank)
    assert blank.shell("nvidia-smi --query-gpu=index,driver_version --format=csv,noheader") == there
