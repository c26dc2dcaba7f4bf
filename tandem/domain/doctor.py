"""Can this host be provisioned? Pure: what was found -> the sentences that refuse it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tandem.domain.slots import UIDS

TESTED_OS = ("debian", "13")
LEAST_DISK_GIB = 2


@dataclass(frozen=True)
class Needs:
    """What the inventory asks of a host. Sizes are in GiB, ``ports`` says what each port is for.

    ``disk_gib`` is for a fresh host; one that has been installed has used it, and keeps LEAST_DISK_GIB.
    """

    memory_gib: int
    disk_gib: int
    ports: Mapping[int, str]
    accept_untested_os: bool


def refusals(needs: Needs, found: Mapping[str, Any]) -> list[str]:
    """One sentence per reason not to go on; [] when there is none."""
    if found.get("missing") == "python3":
        return [
            "it has no python3, which is all that Tandem needs to begin: run `apt-get install -y python3` there once"
        ]
    if found.get("missing") == "sudo program":
        return ["it has no sudo, which every command is run with: run `apt-get install -y sudo` there once"]
    if found.get("missing") == "sudo":
        return ["this user can't become root: allow it passwordless sudo, or set ssh_user to root in the inventory"]
    return [
        *_system(needs, found),
        *_sizes(needs, found),
        *_ports(needs, found),
        *_users(found),
        *(f"there is no folder {path} (runtime/additional_image_stores)" for path in found["missing_stores"]),
    ]


def _system(needs: Needs, found: Mapping[str, Any]) -> Iterator[str]:
    system = found["os"]
    if (system["id"], system["version"]) != TESTED_OS and not needs.accept_untested_os:
        name = system["name"] or "unknown"
        yield f"the operating system is {name}; Tandem is tested on Debian 13 (host/accept_untested_os: True goes on)"
    if found["machine"] != "x86_64":
        yield f"the processor is {found['machine']}; the images are for x86_64"
    if not found["systemd"]:
        yield "systemd does not run here; Tandem's services are systemd units"


def _sizes(needs: Needs, found: Mapping[str, Any]) -> Iterator[str]:
    # 5 % tolerance: a machine sold with 64 GB shows a little less than its nominal size.
    if found["memory_mib"] < needs.memory_gib * 1024 * 0.95:
        have = found["memory_mib"] / 1024
        yield f"memory is {have:.1f} GiB; {needs.memory_gib} GiB is needed (host/minimum_memory_gib)"
    disk_gib = min(needs.disk_gib, LEAST_DISK_GIB) if found["state"] else needs.disk_gib
    for folder, free_mib in found["free_mib"].items():
        if free_mib < disk_gib * 1024:
            have = free_mib / 1024
            yield f"{folder} has {have:.1f} GiB free; {disk_gib} GiB is needed (host/minimum_disk_gib)"


def _ports(needs: Needs, found: Mapping[str, Any]) -> Iterator[str]:
    for port, purpose in sorted(needs.ports.items()):
        taken = found["listeners"].get(str(port))
        if taken and not taken["unit"].startswith(("tandem-", "vllm-", "open-webui-")):
            who = f"{taken['process']} (pid {taken['pid']}, {taken['unit'] or 'no unit'})"
            yield f"port {port} is needed for {purpose}, but {who} listens on it: stop it or choose another port"


def _users(found: Mapping[str, Any]) -> Iterator[str]:
    for name, uid in UIDS.items():
        owner = found["uid_owners"].get(str(uid))
        if owner not in (None, name):
            yield f"user id {uid} belongs to {owner}; Tandem needs it for {name}: give {owner} another id"
