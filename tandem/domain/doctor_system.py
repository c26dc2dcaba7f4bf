"""Checks of the machine and its system: OS, processors, memory, disks, clock, packages, ports, other runtimes. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tandem.domain.checks import Check, Needs, fail, ok, several, shown, warn
from tandem.domain.debian import package_version_key
from tandem.domain.slots import UIDS

TESTED_OS: Final = ("debian", "13")
LEAST_DISK_GIB: Final = 2
MOST_CLOCK_SKEW_SECONDS: Final = 30
READ_ONLY: Final = 0x08
"""Bit of an NVMe health log's critical warning: the disk takes no more data."""

OWN_UNITS: Final = ("tandem-", "vllm-", "open-webui-")


def system(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    name = found["os"]["name"] or "unknown"
    if (found["os"]["id"], found["os"]["version"]) == TESTED_OS:
        yield ok("operating system", name, "Debian 13")
    elif needs.accept_untested_os:
        yield warn("operating system", name, "Tandem is tested on Debian 13; you accepted this one", "Debian 13")
    else:
        yield fail(
            "operating system",
            f"the operating system is {name}",
            "Tandem is tested on Debian 13 (host/accept_untested_os: True goes on)",
            "Debian 13",
        )
    if found["machine"] != "x86_64":
        yield fail("processor", f"the processor is {found['machine']}", "the images are for x86_64", "x86_64")
    if not found["systemd"]:
        yield fail("systemd", "systemd does not run here", "Tandem's services are systemd units")
    yield _processors(needs, found)
    yield _memory(needs, found)


def _processors(needs: Needs, found: Mapping[str, Any]) -> Check:
    number, wanted = found["processors"], needs.advised_processors
    text = f"{several(number, 'processor')} ({found['processor'] or found['machine']})"
    if number < wanted:
        advice = "engines and the page share them: expect slow starts (doctor/advised_processors)"
        return warn("processors", text, advice, str(wanted))
    return ok("processors", text, str(wanted))


def _memory(needs: Needs, found: Mapping[str, Any]) -> Check:
    # 5 % tolerance: a machine sold with 64 GB shows a little less than its nominal size.
    have = f"{found['memory_mib'] / 1024:.1f} GiB"
    if found["memory_mib"] < needs.memory_gib * 1024 * 0.95:
        advice = "add memory, or lower host/minimum_memory_gib"
        return fail("memory", f"memory is {have}", advice, f"{needs.memory_gib} GiB")
    if found["memory_mib"] < needs.advised_memory_gib * 1024 * 0.95:
        advice = "weights are read through it: starts are slower with less (doctor/advised_memory_gib)"
        return warn("memory", have, advice, f"{needs.advised_memory_gib} GiB")
    return ok("memory", have, f"{max(needs.memory_gib, needs.advised_memory_gib)} GiB")


def disks(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    disk_gib = min(needs.disk_gib, LEAST_DISK_GIB) if found["state"] else needs.disk_gib
    for folder in needs.disk_folders:
        space = found["space"][folder]
        have = f"{space['free_mib'] / 1024:.1f} GiB free"
        name = "disk, root" if folder == "/" else "disk, image store"
        if space["free_mib"] < disk_gib * 1024:
            advice = "make room there, or lower host/minimum_disk_gib"
            yield fail(name, f"{folder} has {have}", advice, f"{disk_gib} GiB")
        else:
            of = f" of {space['size_mib'] / 1024:.0f} GiB on {space['device']} ({space['kind']})"
            yield ok(name, f"{folder}: {have}{of}", f"{disk_gib} GiB")
    yield _weights_disk(needs, found)
    yield from _health(needs, found["nvme"])


def _weights_disk(needs: Needs, found: Mapping[str, Any]) -> Check:
    name, folder = "disk, weights", needs.weights_directory
    space = found["space"][folder]
    due_gib = needs.weights_bytes / 2**30 if found["absent"]["weights"] else 0.0
    needed = f"{due_gib:.1f} GiB" if due_gib else ""
    if needs.weights_device in found["missing_paths"]:
        advice = "storage/device names a disk of this host (lsblk lists them)"
        return fail(name, f"{needs.weights_device} does not exist", advice)
    if needs.weights_device and not space["mounted"]:
        return ok(name, f"{folder}: install mounts {needs.weights_device} there", needed)
    if space["size_mib"] / 1024 < due_gib:
        advice = "name a larger disk in storage/device"
        return fail(name, f"{folder} is on a disk of {space['size_mib'] / 1024:.1f} GiB", advice, needed)
    if space["free_mib"] / 1024 < due_gib:
        # Files of other revisions and of a download that was cut short count: only the download itself knows them.
        advice = "install compares to the byte, with what is there already, before it downloads"
        return warn(name, f"{folder} has {space['free_mib'] / 1024:.1f} GiB free", advice, needed)
    return ok(name, f"{folder}: {space['free_mib'] / 1024:.1f} GiB free on {space['device']} ({space['kind']})", needed)


def _health(needs: Needs, nvme: Mapping[str, Any]) -> Iterator[Check]:
    if not nvme["disks"]:
        yield ok("NVMe health", "no NVMe disk")
    elif not nvme["tool"]:
        yield warn("NVMe health", f"not known of {shown(list(nvme['disks']))}", "apt-get install nvme-cli tells it")
    else:
        for device, seen in nvme["disks"].items():
            yield _health_of(needs, f"NVMe health {device}", device, seen)


def _health_of(needs: Needs, name: str, device: str, seen: Mapping[str, Any]) -> Check:
    if seen.get("why") or seen["warning"] is None:
        return warn(name, f"{device} does not tell its health: {seen.get('why', 'no log')}", "look with nvme smart-log")
    worn, errors = seen["worn_percent"] or 0, seen["media_errors"] or 0
    text = (
        f"{seen['model'] or device}: {worn} % worn, {several(errors, 'media error')}, spare {seen['spare_percent']} %"
    )
    if seen["warning"] & READ_ONLY:
        return fail(name, f"{device} has become read-only ({text})", "replace the disk")
    if seen["warning"] or errors:
        return warn(
            name, f"{text}, critical warning 0x{seen['warning']:02x}", "plan to replace the disk: it reports faults"
        )
    if worn > needs.disk_wear_percent:
        advice = "plan to replace the disk (doctor/maximum_disk_wear_percent)"
        return warn(name, text, advice, f"at most {needs.disk_wear_percent} %")
    return ok(name, text, f"at most {needs.disk_wear_percent} %")


def clock(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    skew = abs(found["skew_seconds"])
    text = "synchronised" if found["synchronised"] else "not synchronised"
    if skew > MOST_CLOCK_SKEW_SECONDS:
        advice = "set the clock (timedatectl set-ntp true): certificates and package lists are judged by it"
        yield warn("clock", f"{skew:.0f} s away from this computer's", advice, f"at most {MOST_CLOCK_SKEW_SECONDS} s")
    elif found["synchronised"]:
        yield ok("clock", text)
    elif found["container"]:
        yield ok("clock", f"{text} here: in a container it is kept outside")
    elif not found["state"]:
        yield ok("clock", f"{text} yet: install starts systemd-timesyncd")
    else:
        yield warn("clock", text, "timedatectl timesync-status says why; is NTP (UDP 123) let through?", "synchronised")


def packages(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    known, apt = found["packages"], found["apt"]
    held = dict(known["held"])
    absent = [name for name, state in held.items() if state[1:2] != "i"]
    if absent:
        advice = "apt refuses to install a held package: apt-mark unhold " + " ".join(absent[:4])
        yield warn("apt holds", f"held although not installed: {shown(absent)}", advice)
    else:
        yield ok("apt holds", f"{several(len(held), 'package')}: {shown(sorted(held))}" if held else "none")
    yield _unattended(apt, known["driver"], set(held))
    yield _security(known["security"], set(held))


def _unattended(apt: Mapping[str, Any], driver: Mapping[str, str], held: set[str]) -> Check:
    name, kept = "unattended-upgrades", any("nvidia" in pattern for pattern in apt["blacklist"])
    loose = sorted(set(driver) - held) if not kept else []
    if not apt["unattended"]:
        return ok(name, "off")
    if apt["reboots"]:
        advice = "set Unattended-Upgrade::Automatic-Reboot to false: it would cut every answer off"
        return warn(name, "on, and reboots this host by itself", advice)
    if loose:
        advice = f"apt-mark hold {' '.join(loose[:3])}{' ...' if loose[3:] else ''}, or let install do it"
        return warn(name, f"on, and may pull driver and module apart ({shown(loose)})", advice)
    return ok(name, "on; it leaves the driver alone" if driver else "on")


def _security(security: Mapping[str, list[str]] | None, held: set[str]) -> Check:
    name = "security updates"
    if security is None:
        return ok(name, "not known: this host has no package lists yet")
    due = sorted(
        package
        for package, (installed, *available) in security.items()
        if max(map(package_version_key, available)) > package_version_key(installed)
    )
    kept = [package for package in due if package in held]
    if kept:
        advice = "a hold keeps them out; plan their update (the driver's is a planned gap)"
        return warn(name, f"{len(kept)} held back: {shown(kept)}", advice, "none held back")
    if due:
        return warn(
            name, f"{len(due)} due: {shown(due)}", "apt-get upgrade, or install unattended-upgrades", "none due"
        )
    return ok(name, "none due")


def neighbours(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    """Who else wants what Tandem needs: ports, user ids, and other runtimes beside Podman."""
    taken = []
    for port, purpose in sorted(needs.ports.items()):
        who = found["listeners"].get(str(port))
        if who and not who["unit"].startswith(OWN_UNITS):
            name = f"{who['process']} (pid {who['pid']}, {who['unit'] or 'no unit'})"
            taken.append(f"port {port} is needed for {purpose}, but {name} listens on it")
    yield from (fail("ports", text, "stop it or choose another port") for text in taken)
    if not taken:
        yield ok("ports", f"{len(needs.ports)} are free or Tandem's own")
    for name, uid in UIDS.items():
        owner = found["uid_owners"].get(str(uid))
        if owner not in (None, name):
            text = f"user id {uid} belongs to {owner}; Tandem needs it for {name}"
            yield fail("user ids", text, f"give {owner} another id")
    others = found["runtimes"]
    if others:
        advice = "they may take cards, ports and firewall rules: keep them off the cards, or remove them"
        yield warn("other container runtimes", shown(others), advice, "none")
    else:
        yield ok("other container runtimes", "none")
