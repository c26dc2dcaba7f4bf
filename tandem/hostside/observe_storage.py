"""Runs on the host as root, standard library only: what is on the weights disk. Reads only.

Input: one JSON argument {"device": path, "directory": mount point}.
Output: one JSON line {"exists", "block", "bytes", "label", "uuid", "type", "signature", "partitions", "data",
"mounted"}:
``signature`` is any filesystem, RAID, LVM or partition-table type that blkid or wipefs knows ("" for none); ``data``
says that
the first or last MiB is not all zero; ``mounted`` is the device mounted at the directory ("" for none).
"""

import json
import os
import stat
import subprocess
import sys
from typing import Any

MIB = 2**20


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def blkid(device: str) -> dict[str, str]:
    """Probed from the disk itself (-p), never from blkid's cache."""
    return dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", device).splitlines() if "=" in line)


def size(device: str) -> int:
    with open(device, "rb") as disk:
        return disk.seek(0, os.SEEK_END)


def has_data(device: str) -> bool:
    with open(device, "rb") as disk:
        first = disk.read(MIB)
        disk.seek(max(0, disk.seek(0, os.SEEK_END) - MIB))
        return any(first) or any(disk.read(MIB))


def partitions(device: str) -> list[str]:
    tree = json.loads(run("lsblk", "--json", "--output", "NAME,TYPE", device) or "{}")
    return [child["name"] for disk in tree.get("blockdevices", []) for child in disk.get("children", [])]


def mounted(directory: str) -> str:
    with open("/proc/self/mounts") as file:
        found = [line.split()[0] for line in file if line.split()[1] == directory]
    return found[-1] if found else ""


def main() -> None:
    asked = json.loads(sys.argv[1])
    device = asked["device"]
    exists = os.path.exists(device)
    answer: dict[str, Any] = {"exists": exists, "block": False, "mounted": mounted(asked["directory"])}
    if exists and stat.S_ISBLK(os.stat(device).st_mode):
        probed = blkid(device)
        wiped = json.loads(run("wipefs", "--json", "--no-act", device) or "{}").get("signatures", [])
        answer |= {
            "block": True,
            "bytes": size(device),
            "label": probed.get("LABEL", ""),
            "uuid": probed.get("UUID", ""),
            "type": probed.get("TYPE", ""),
            "signature": probed.get("TYPE") or probed.get("PTTYPE") or (wiped[0]["type"] if wiped else ""),
            "partitions": partitions(device),
            "data": has_data(device),
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
