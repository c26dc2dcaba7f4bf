"""Decides what may be done with the weights disk. Pure. A disk with anything on it is never formatted."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMESPACE = uuid.UUID("7d3e3a52-52d2-5c5f-9f0a-3a8f6d5c7f11")


@dataclass(frozen=True)
class Verdict:
    """``format``: the disk is blank and may be formatted. ``refusal``: why nothing may be done; "" when all is well."""

    format: bool = False
    refusal: str = ""


def filesystem_uuid(host: str, label: str) -> str:
    """The UUID that Tandem gives the filesystem it makes: the same for the same host and label, so that it can be
    rendered.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{host}/{label}"))


def judge(device: str, label: str, wanted_uuid: str, seen: Mapping[str, Any]) -> Verdict:
    """``seen`` is what ``tandem.hostside.observe_storage`` answers."""
    if not seen["exists"]:
        return Verdict(refusal=f"{device} does not exist; storage.device names a disk of this host (lsblk lists them)")
    if not seen["block"]:
        return Verdict(refusal=f"{device} is not a block device; storage.device names a disk (lsblk lists them)")
    if seen["uuid"] == wanted_uuid:
        return Verdict()
    if seen["partitions"]:
        parts = ", ".join(seen["partitions"])
        return Verdict(refusal=f"{device} has partitions ({parts}); it was left as it is: name a blank disk")
    if seen["signature"]:
        what = f"{seen['signature']} with label {seen['label'] or 'none'} and UUID {seen['uuid'] or 'none'}"
        hint = f"; set storage.uuid to {seen['uuid']} to use that filesystem" if seen["uuid"] else ""
        return Verdict(refusal=f"{device} holds {what}; it was left as it is{hint}, or name a blank disk")
    if seen["data"]:
        return Verdict(refusal=f"{device} holds data that no tool recognises; it was left as it is: name a blank disk")
    return Verdict(format=True)
