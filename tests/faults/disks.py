"""A rehearsal host whose disk may be filled, partitioned, resized and compared byte by byte."""

import fcntl
import hashlib
import json
import re
import struct
from pathlib import Path
from typing import Any

from tandem.domain.storage import filesystem_uuid
from tandem.rehearsal import host, machine
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.shell import run
from tests.faults.onhost import OnHost

NAME = "disk1"
DISK = "/dev/nvme1n1"
SERIAL = "nvme1n1"
WEIGHTS = "/srv/weights"
UUID = filesystem_uuid(NAME, "weights")
SMALL_BYTES = 512 * 2**20
LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_PARTSCAN, LOOP_FLAGS_OFFSET = 0x4C04, 0x4C05, 8, 52


class DiskHost(OnHost):
    """A rehearsal host with the tools for disks. Its disk is the image of a loop device of this machine."""

    @property
    def image(self) -> Path:
        return host.folder(STATE, self.name) / "nvme.img"

    @property
    def loop(self) -> str:
        return machine.attach_disk(self.image)

    def resize(self, size_bytes: int) -> None:
        """What a larger disk, or one more grown by its hypervisor, does."""
        with self.image.open("r+b") as file:
            file.truncate(size_bytes)
        run(["losetup", "--set-capacity", self.loop])

    def blank(self) -> None:
        """As new, of SMALL_BYTES."""
        self.shell(
            f"""
            systemctl stop tandem-weights-trim.timer srv-weights.mount 2>/dev/null || true
            while mountpoint -q {WEIGHTS}; do umount {WEIGHTS}; done
            rm -rf {WEIGHTS} /var/lib/tandem /etc/systemd/system/srv-weights.mount {DISK}p1
            blockdev --setrw {DISK}
            wipefs --quiet --all {DISK}
            systemctl daemon-reload
            """
        )
        self.resize(0)
        self.resize(SMALL_BYTES)
        self.shell(f"blockdev --flushbufs {DISK}; /usr/local/lib/rehearsal/disk-links")

    def digest(self) -> str:
        """SHA-256 of every byte of the disk."""
        self.shell(f"blockdev --flushbufs {DISK}")
        with self.image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def partition(self) -> None:
        """One partition, and its node, which the kernel's devtmpfs makes on a real host."""
        with open(self.loop, "rb") as loop:
            status = bytearray(fcntl.ioctl(loop, LOOP_GET_STATUS64, bytes(232)))
            flags = struct.unpack_from("I", status, LOOP_FLAGS_OFFSET)[0] | LOOP_PARTSCAN
            struct.pack_into("I", status, LOOP_FLAGS_OFFSET, flags)
            fcntl.ioctl(loop, LOOP_SET_STATUS64, bytes(status))
        self.shell(f"printf 'label: gpt\\nstart=1MiB, size=400MiB\\n' | sfdisk --quiet {DISK}; partx --update {DISK}")
        numbers = Path(f"/sys/class/block/{Path(self.loop).name}/{Path(self.loop).name}p1/dev").read_text().strip()
        self.shell(f"rm -f {DISK}p1; mknod {DISK}p1 b {numbers.replace(':', ' ')}; /usr/local/lib/rehearsal/disk-links")

    def filesystem(self, device: str = DISK) -> str:
        """Type, label and UUID as blkid reads them from the disk."""
        return self.shell(f"blkid -p -o export {device} | grep -E '^(TYPE|LABEL|UUID)=' | sort | xargs").strip()

    def mounted(self) -> dict[str, Any]:
        found = json.loads(self.shell(f"findmnt --bytes --json --output SOURCE,FSTYPE,OPTIONS,SIZE,UUID {WEIGHTS}"))
        return dict(found["filesystems"][0])


def may_resize_ext4() -> bool:
    """Some build machines run without CAP_SYS_RESOURCE, which the kernel asks of whoever resizes a mounted ext4."""
    bounding = re.search(r"^CapBnd:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert bounding
    return bool(int(bounding[1], 16) >> 24 & 1)
