"""What is on a block device, who uses it, and where its neighbours are. Reads only; the kernel's own numbers count,
never a device's name.
"""

import contextlib
import glob
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

MIB = 2**20
EDGE_BYTES = 4 * MIB  # looked at in full at both ends of a device without a signature
SAMPLES, SAMPLE_BYTES = 256, 64 * 1024  # and so many pieces in between
SECTOR_BYTES = 512  # the unit of every size in /sys/class/block


def run(*command: str) -> str:
    """Standard output; "" where the tool is not installed yet."""
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    return ""


def text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read().strip()
    return ""


def number(device: str) -> str:
    """MAJOR:MINOR of a block device node."""
    found = os.stat(device).st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


def kernel_folder(numbers: str) -> str:
    """/sys/devices/.../NAME of a device, so that the folder above a partition is its disk."""
    return os.path.realpath(f"/sys/dev/block/{numbers}")


def node(numbers: str) -> str:
    """The device node in /dev with these numbers, "" when there is none."""
    usual = f"/dev/{os.path.basename(kernel_folder(numbers))}"
    for path in (usual, *sorted(glob.glob("/dev/*")), *sorted(glob.glob("/dev/mapper/*"))):
        with contextlib.suppress(OSError):
            if stat.S_ISBLK(os.lstat(path).st_mode) and number(path) == numbers:
                return path
    return ""


def probe(device: str) -> dict[str, str]:
    """What blkid finds on the disk itself (-p), never in its cache."""
    return dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", device).splitlines() if "=" in line)


def signature(device: str, probed: dict[str, str]) -> str:
    wiped = json.loads(run("wipefs", "--json", "--no-act", device) or "{}").get("signatures", [])
    return probed.get("TYPE") or probed.get("PTTYPE") or (wiped[0]["type"] if wiped else "")


def has_data(device: str, size_bytes: int) -> bool:
    """Whether anything but zeros is found at either end or in the samples between."""
    step = max(SAMPLE_BYTES, size_bytes // SAMPLES)
    pieces = [(0, EDGE_BYTES), (max(0, size_bytes - EDGE_BYTES), EDGE_BYTES)]
    pieces += [(offset, SAMPLE_BYTES) for offset in range(0, size_bytes, step)]
    with open(device, "rb") as disk:
        return any(_any_byte(os.pread(disk.fileno(), length, offset)) for offset, length in pieces)


def _any_byte(data: bytes) -> bool:
    return data.count(0) != len(data)


def serial_number(numbers: str) -> str:
    """Of the disk, also for its partitions."""
    folder = kernel_folder(numbers)
    disk = text(f"{folder}/../dev") if os.path.exists(f"{folder}/partition") else numbers
    listed = json.loads(run("lsblk", "--json", "--nodeps", "--output", "SERIAL", node(disk)) or "{}")
    return ((listed.get("blockdevices") or [{}])[0].get("serial") or "").strip()


def partitions(numbers: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted(glob.glob(f"{kernel_folder(numbers)}/*/partition")):
        folder = os.path.dirname(path)
        device = node(text(f"{folder}/dev"))
        probed = probe(device) if device else {}
        found.append(
            {
                "name": os.path.basename(device or folder),
                "node": device,
                "bytes": int(text(f"{folder}/size") or 0) * SECTOR_BYTES,
                "type": probed.get("TYPE", ""),
                "label": probed.get("LABEL", ""),
                "uuid": probed.get("UUID", ""),
            }
        )
    return found


def stack(numbers: str) -> dict[str, str]:
    """{MAJOR:MINOR: kernel name} of a device, its partitions and everything built on them (LVM, RAID, dm-crypt)."""
    found: dict[str, str] = {}
    waiting = [kernel_folder(numbers)]
    while waiting:
        folder = waiting.pop()
        if text(f"{folder}/dev") in found:
            continue
        found[text(f"{folder}/dev")] = text(f"{folder}/dm/name") or os.path.basename(folder)
        waiting += [os.path.dirname(path) for path in glob.glob(f"{folder}/*/partition")]
        waiting += [os.path.realpath(path) for path in glob.glob(f"{folder}/holders/*")]
    return found


def uses(device: str) -> list[str]:
    """Who uses a device, its partitions or what is built on them; [] when it can be had alone."""
    own = number(device)
    below = stack(own)
    names = {numbers: node(numbers) or name for numbers, name in below.items()}
    found = [
        f"{name} is built on it"
        for numbers, name in below.items()
        if numbers != own and not os.path.exists(f"{kernel_folder(numbers)}/partition")
    ]
    found += sorted({f"{names[numbers]} is mounted at {where}" for numbers, where in mounts() if numbers in below})
    for line in text("/proc/swaps").splitlines()[1:]:
        with contextlib.suppress(OSError):
            if number(line.split()[0]) in below:
                found.append(f"{line.split()[0]} is swap")
    return found or ([] if free(device) else ["another program or the kernel holds it"])


def free(device: str) -> bool:
    """Whether the kernel would give it to one user alone. What is mounted anywhere or part of anything, it does not."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return False
    return True


def mounts() -> Iterator[tuple[str, str]]:
    """(MAJOR:MINOR, mount point) in every mount namespace that can be seen."""
    known = set()
    for namespace in glob.glob("/proc/[0-9]*/ns/mnt"):
        with contextlib.suppress(OSError):
            name = os.readlink(namespace)
            if name not in known:
                known.add(name)
                yield from _mounts(namespace.replace("ns/mnt", "mountinfo"))


def _mounts(file: str) -> Iterator[tuple[str, str]]:
    for line in text(file).splitlines():
        words = line.split(" ")
        where = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[4])
        yield words[2], where
        source = words[words.index("-") + 2]
        # A filesystem over several devices (btrfs) has numbers of its own; its source is one of them.
        if words[2].startswith("0:") and source.startswith("/dev/"):
            with contextlib.suppress(OSError):
                yield number(source), where


def mounted_at(directory: str) -> str:
    """MAJOR:MINOR of what is mounted there, "" for nothing."""
    found = [numbers for numbers, where in _mounts("/proc/self/mountinfo") if where == directory]
    return found[-1] if found else ""
