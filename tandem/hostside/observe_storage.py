"""Runs on the host as root, standard library only: what is on the weights disk. Reads only.

Input: one JSON argument {"device": path, "directory": mount point, "uuid": of the weights filesystem}.
Output: one JSON line, see ``look``.
"""

import fcntl
import json
import os
import stat
import struct
import sys
from typing import Any

from tandem.hostside.disks import (
    SECTOR_BYTES,
    has_data,
    kernel_folder,
    mounted_at,
    node,
    number,
    partitions,
    probe,
    serial_number,
    signature,
    text,
    uses,
)

RECORD = "/var/lib/tandem/storage.json"
XFS_GEOMETRY = 0x80705864  # XFS_IOC_FSGEOMETRY_V1: linux/fs/xfs/libxfs/xfs_fs.h


def record() -> dict[str, Any]:
    """{"filesystems": {UUID: {"read_mib_per_second"}}, "formatting": {"uuid", "serial", "bytes"} while one runs}."""
    return {"filesystems": {}, **json.loads(text(RECORD) or "{}")}


def look(device: str, directory: str, uuid: str) -> dict[str, Any]:
    """What decides what may be done with a device.

    ``mounted``: the device mounted at the directory, "" for none; ``mounted_here``: it is this one; ``elsewhere``: the
    other device that holds the filesystem ``uuid``; ``below``: the directory holds files while nothing is mounted
    there; ``read_mib_per_second``: as measured once, null before; ``signature``: any filesystem, RAID, LVM or
    partition-table type that blkid or wipefs knows; ``data``: something but zeros is on a device without a signature;
    ``uses``: who else has it; ``filesystem_bytes``: null when unknown; ``unfinished``: our mkfs was cut short there.
    """
    at = mounted_at(directory)
    kept = record()
    seen: dict[str, Any] = {
        "exists": os.path.exists(device),
        "block": False,
        "mounted": at and (node(at) or at),
        "mounted_here": False,
        "elsewhere": "",
        "below": not at and os.path.isdir(directory) and bool(os.listdir(directory)),
        "read_mib_per_second": kept["filesystems"].get(uuid, {}).get("read_mib_per_second"),
    }
    if seen["exists"] and stat.S_ISBLK(os.stat(device).st_mode):
        seen |= {"block": True, **_content(device, uuid, kept.get("formatting"))}
        seen["mounted_here"] = at == number(device)
        if seen["mounted_here"] and seen["type"] == "xfs":
            seen["filesystem_bytes"] = _xfs_bytes(directory)
    if seen.get("uuid") != uuid:
        seen["elsewhere"] = _holder(uuid)
    return seen


def _content(device: str, uuid: str, formatting: dict[str, Any] | None) -> dict[str, Any]:
    numbers = number(device)
    folder = kernel_folder(numbers)
    size_bytes = int(text(f"{folder}/size") or 0) * SECTOR_BYTES
    probed = probe(device)
    if probed.get("TYPE") == "xfs" and _half_made(device):
        probed["UUID"] = ""  # mkfs was cut short: it can't be mounted
    serial = serial_number(numbers)
    kind = signature(device, probed)
    blocks, block_bytes = probed.get("FSLASTBLOCK"), probed.get("FSBLOCKSIZE")
    return {
        "bytes": size_bytes,
        "read_only": text(f"{folder}/ro") == "1",
        "serial": serial,
        "type": probed.get("TYPE", ""),
        "label": probed.get("LABEL", ""),
        "uuid": probed.get("UUID", ""),
        "signature": kind,
        "filesystem_bytes": int(blocks) * int(block_bytes) if blocks and block_bytes else None,
        "partitions": partitions(numbers),
        "data": not kind and has_data(device, size_bytes),
        "uses": [] if probed.get("UUID") == uuid else uses(device),
        "unfinished": formatting == {"uuid": uuid, "serial": serial, "bytes": size_bytes},
    }


def _half_made(device: str) -> bool:
    """Whether mkfs.xfs has not come to its end: byte 126 of the superblock (sb_inprogress in Linux' xfs_format.h)."""
    with open(device, "rb") as disk:
        return os.pread(disk.fileno(), 1, 126) != b"\0"


def _holder(uuid: str) -> str:
    link = f"/dev/disk/by-uuid/{uuid}"
    device = os.path.realpath(link)
    # The link may be older than what it points at.
    return device if os.path.exists(link) and probe(device).get("UUID") == uuid else ""


def _xfs_bytes(directory: str) -> int:
    """Of a mounted xfs, whose superblock on the disk lags behind."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = fcntl.ioctl(handle, XFS_GEOMETRY, bytes(112))
    finally:
        os.close(handle)
    block_bytes: int = struct.unpack_from("I", answer, 0)[0]
    blocks: int = struct.unpack_from("Q", answer, 32)[0]
    return block_bytes * blocks


if __name__ == "__main__":
    print(json.dumps(look(**json.loads(sys.argv[1]))))
