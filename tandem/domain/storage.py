"""Decides what may be done with the weights disk. Pure. A disk with anything on it is never formatted unasked."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMESPACE = uuid.UUID("7d3e3a52-52d2-5c5f-9f0a-3a8f6d5c7f11")

SPARE = 1.05  # of the files' size: the filesystem needs a little for itself
# Below these mkfs refuses (xfs) or makes no sense.
LEAST_BYTES = {"xfs": 300 * 2**20, "ext4": 64 * 2**20}
# A filesystem may leave the end of its device unused: its last block group has to have a size worth having.
LEAST_GROWTH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Disk:
    """The weights disk as declared. ``needed_bytes``: the files of the wanted release."""

    device: str
    filesystem: str
    label: str
    uuid: str
    directory: str
    erase: str | None = None
    needed_bytes: int = 0


@dataclass(frozen=True)
class Verdict:
    """``format``: the disk may be formatted. ``destroys``: what that destroys, which the operator asked for by serial.

    ``refusal``: why nothing may be done; "" when all is well. ``remarks``: what the operator should know in any case.
    """

    format: bool = False
    destroys: tuple[str, ...] = ()
    refusal: str = ""
    remarks: tuple[str, ...] = ()


def filesystem_uuid(host: str, label: str) -> str:
    """The UUID that Tandem gives the filesystem it makes: the same for the same host and label, so that it can be
    rendered.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{host}/{label}"))


def judge(disk: Disk, seen: Mapping[str, Any]) -> Verdict:
    """``seen`` is what ``tandem.hostside.observe_storage`` answers."""
    reason = _unusable(disk, seen)
    if reason:
        return Verdict(refusal=f"storage/device: {reason}")
    if seen["uuid"] == disk.uuid:
        reason = _misfit(disk, seen)
        return Verdict(refusal=reason) if reason else Verdict(remarks=_remarks(disk, seen))
    found = contents(seen)
    if found and not _begun_by_us(disk, seen):
        reason = _not_erasable(disk, seen, found)
        if reason:
            return Verdict(refusal=reason)
        return Verdict(format=True, destroys=found, remarks=_hidden(disk, seen))
    if seen["uses"]:
        return Verdict(refusal=f"storage/device: {disk.device} is in use ({_list(seen['uses'])}); {_LEFT}")
    return Verdict(format=True, remarks=_hidden(disk, seen))


_LEFT = "it was left as it is: name another disk"


def _unusable(disk: Disk, seen: Mapping[str, Any]) -> str:
    """Why this device can hold no weights, whatever is on it."""
    device = disk.device
    if not seen["exists"]:
        where = f"the weights filesystem is on {seen['elsewhere']}" if seen["elsewhere"] else "lsblk lists the disks"
        return f"{device} does not exist; nothing was changed: name a disk of this host ({where})"
    if not seen["block"]:
        return f"{device} is not a block device; nothing was changed: name a disk of this host (lsblk lists them)"
    if seen["bytes"] == 0:
        return f"{device} has no size; nothing was changed: name a disk that works"
    if seen["elsewhere"]:
        return (
            f"the weights filesystem (UUID {disk.uuid}) is on {seen['elsewhere']}, not on {device}; nothing was "
            "changed: set storage/device to that disk, best by its name in /dev/disk/by-id"
        )
    if seen["mounted"] and not seen["mounted_here"]:
        return (
            f"{disk.directory} is the mount point of {seen['mounted']}, not of {device}; nothing was changed: "
            "unmount that, or choose another weights/directory"
        )
    if seen["read_only"]:
        return f"{device} is read-only; nothing was changed: see `dmesg` for why, or name another disk"
    least = max(disk.needed_bytes * SPARE, LEAST_BYTES[disk.filesystem])
    if seen["bytes"] < least:
        return (
            f"{device} has {gib(seen['bytes'])} and {gib(least)} is needed for the release's files; "
            "nothing was changed: name a larger disk"
        )
    return ""


def _misfit(disk: Disk, seen: Mapping[str, Any]) -> str:
    """Why the weights filesystem that is there can't be used as declared."""
    if seen["type"] != disk.filesystem:
        return (
            f"storage/filesystem is {disk.filesystem}, but the weights filesystem on {disk.device} is {seen['type']}; "
            f"it was left as it is: set storage/filesystem to {seen['type']}, or, to lose what is on it, unmount it, "
            f"run `wipefs --all {disk.device}` and set storage/erase to {seen['serial'] or 'its serial number'}"
        )
    if (seen["filesystem_bytes"] or 0) > seen["bytes"]:
        return (
            f"storage/device: the filesystem on {disk.device} has {gib(seen['filesystem_bytes'])}, its device only "
            f"{gib(seen['bytes'])}; it was left as it is: make the device as large as it was"
        )
    return ""


def _remarks(disk: Disk, seen: Mapping[str, Any]) -> tuple[str, ...]:
    found = list(_hidden(disk, seen))
    if seen["label"] != disk.label:
        found.append(
            f"the weights filesystem on {disk.device} has label {seen['label'] or 'none'}, storage/label is "
            f"{disk.label}; it is used as it is"
        )
    if disk.erase:
        found.append(f"storage/erase is done and erases {disk.device} no more: it may be left out")
    return tuple(found)


def _hidden(disk: Disk, seen: Mapping[str, Any]) -> tuple[str, ...]:
    if not seen["below"]:
        return ()
    return (f"what {disk.directory} holds on the root filesystem is hidden by the mount and still takes room there",)


def contents(seen: Mapping[str, Any]) -> tuple[str, ...]:
    """What is on a device, one phrase each; () when it is blank."""
    found = []
    if seen["signature"]:
        found.append(_thing(seen["signature"], seen["bytes"], seen["label"], seen["uuid"]))
    for part in seen["partitions"]:
        what = _thing(part["type"] or "unknown content", part["bytes"], part["label"], part["uuid"])
        found.append(f"partition {part['name']}: {what}")
    if not found and seen["data"]:
        found.append(f"data that no tool recognises ({gib(seen['bytes'])})")
    return tuple(found)


def _thing(kind: str, size_bytes: int, label: str, identity: str) -> str:
    names = [f"label {label}"] if label else []
    names += [f"UUID {identity}"] if identity else []
    return " ".join([kind, *(["with", " and ".join(names)] if names else []), f"({gib(size_bytes)})"])


def _begun_by_us(disk: Disk, seen: Mapping[str, Any]) -> bool:
    """A formatting of ours that was cut short: it was allowed when it began, and nothing else has come since."""
    # mkfs was told our UUID: a filesystem with another one came later.
    ours = seen["signature"] in ("", disk.filesystem) and seen["uuid"] in ("", disk.uuid)
    return bool(seen["unfinished"]) and not seen["partitions"] and ours


def _not_erasable(disk: Disk, seen: Mapping[str, Any], found: tuple[str, ...]) -> str:
    """Why a device with something on it must not be erased; "" when the operator has named it and nobody uses it."""
    holds = f"storage/device: {disk.device} holds {_list(found)}; it was left as it is"
    if disk.erase is None:
        use = f"set storage/uuid to {seen['uuid']} to use that filesystem, " if seen["uuid"] and seen["type"] else ""
        erase = f"set storage/erase to {seen['serial']} to destroy all of it"
        by_hand = f"it has no serial number to erase it by: run `wipefs --all {disk.device}` yourself"
        return f"{holds}: name a blank disk, {use}or {erase if seen['serial'] else by_hand}"
    if not seen["serial"]:
        return f"{holds}: storage/erase names {disk.erase}, but this disk has no serial number: name another disk"
    if disk.erase != seen["serial"]:
        return f"{holds}: storage/erase names {disk.erase}, but this disk's serial number is {seen['serial']}"
    if any(_is_of_tandem(one) for one in (seen["uuid"], *(part["uuid"] for part in seen["partitions"]))):
        return (
            f"{holds}: Tandem made it, for another host name or label: set storage/uuid to its UUID to use it, or, to "
            f"lose what is on it, run `wipefs --all {disk.device}` yourself"
        )
    if seen["uses"]:
        return f"{holds}: it is in use ({_list(seen['uses'])}), and a disk in use is never erased: end that first"
    return ""


def _is_of_tandem(identity: str) -> bool:
    """Filesystems that Tandem makes have a UUID of version 5; mkfs alone gives version 4."""
    return len(identity) == 36 and identity[14] == "5"


def growth_bytes(disk: Disk, seen: Mapping[str, Any]) -> int:
    """By how much the weights filesystem is to grow; 0 when it fills its device."""
    if seen.get("uuid") != disk.uuid or not seen["filesystem_bytes"]:
        return 0
    spare: int = seen["bytes"] - seen["filesystem_bytes"]
    return spare if spare >= LEAST_GROWTH_BYTES else 0


def settled(disk: Disk, seen: Mapping[str, Any]) -> bool:
    """Whether the weights filesystem is mounted, fills its device and has been measured."""
    here = bool(seen["mounted_here"]) and seen["uuid"] == disk.uuid
    return here and not growth_bytes(disk, seen) and seen["read_mib_per_second"] is not None


def slow(disk: Disk, read_mib_per_second: int, advised_mib_per_second: int) -> str:
    """The warning of a disk that reads slower than advised; "" when it does not."""
    if read_mib_per_second >= advised_mib_per_second:
        return ""
    seconds = disk.needed_bytes / 2**20 / max(1, read_mib_per_second)
    return (
        f"{disk.device} reads {read_mib_per_second} MiB/s, less than the {advised_mib_per_second} MiB/s of "
        f"storage/advised_read_mib_per_second: an engine reads its model for {seconds:.0f} s at every start"
    )


def gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def _list(things: tuple[str, ...] | list[str]) -> str:
    return "; ".join(things)
