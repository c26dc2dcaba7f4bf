"""Rehearsal hosts: disposable real systemd machines (systemd-nspawn, Debian 13), side by side. Needs root.

One program at a time drives a given host; different hosts are independent.
"""

import json
import re
import socket
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from ipaddress import IPv4Network
from pathlib import Path

from tandem.rehearsal import apt, base, machine, network
from tandem.rehearsal.rootfs import BLANK_BY_DEFAULT, Host, copy, furnish, identify, name_servers, network_file, place
from tandem.rehearsal.shell import RehearsalError, remove_tree, run, wait_until

BOOT_SECONDS = 60
STOP_GRACE_SECONDS = 90


def create(state: Path, name: str, report: Callable[[str], None] = print, *, blank: bool = BLANK_BY_DEFAULT) -> Host:
    """Makes a fresh host from the base root, off. A host that exists is left as it is.

    blank: two cards on the bus and nothing installed for them; otherwise a driver that has always been there.
    """
    if not (folder(state, name) / "host.json").exists():
        apt.build(state.resolve(), report)
        assemble(state, name, base.build(state.resolve(), report), None, blank=blank)
    return load(state, name)


def boot(state: Path, name: str) -> Host:
    """Starts a host and returns once SSH answers with its own key. A host that runs is only waited for."""
    state = state.resolve()
    host = load(state, name)
    if not machine.kept(state, name):
        if machine.running(state, name):
            machine.stop(state, name, STOP_GRACE_SECONDS)
        host = _place_network(state, host)
        machine.start_keeper(state, name)
    _wait_for_ssh(state, host)
    return host


def stop(state: Path, name: str) -> None:
    """Powers a host off in order; kills it when that takes too long."""
    load(state, name)
    machine.stop(state.resolve(), name, STOP_GRACE_SECONDS)


def reboot(state: Path, name: str) -> Host:
    """Power off in order, then boot."""
    stop(state, name)
    return boot(state, name)


def reset(state: Path, name: str) -> Host:
    """The reset button: everything in the host dies at once, then it boots."""
    load(state, name)
    machine.kill(state.resolve(), name)
    return boot(state, name)


def remove(state: Path, name: str) -> None:
    """Ends a host and removes its folder; saves made from it stay."""
    here = folder(state, name)
    machine.kill(state.resolve(), name)
    remove_tree(here)


def clean(state: Path, *, keep_base: bool = False) -> None:
    """Removes every trace of this state's hosts, saves and base root. Images and models are their builders' own."""
    state = state.resolve()
    here = state / "hosts"
    # A machine may outlive its folder that somebody removed by hand.
    for name in {*names(state), *machine.running_names(state)}:
        machine.kill(state, name)
    machine.detach_disks(here)
    network.close_gateway()
    leftovers = [here, state / "saves", state / "base.new", state / "base.apt.conf", state / "base.lock"]
    for path in leftovers if keep_base else [*leftovers, state / "base", state / "base.json"]:
        remove_tree(path)
    apt.clean(state)
    if state.is_dir() and not any(state.iterdir()):
        state.rmdir()


def names(state: Path) -> list[str]:
    """The hosts of a state folder."""
    return sorted(file.parent.name for file in (state / "hosts").glob("[a-z]*/host.json"))


def folder(state: Path, name: str) -> Path:
    """Where a host lives; refuses names that are no plain host name."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise RehearsalError(f"host name {name!r}: at most 31 lower-case letters, digits and hyphens, a letter first")
    return machine.folder(state.resolve(), name)


def load(state: Path, name: str) -> Host:
    """The host as it was written down when it was made."""
    file = folder(state, name) / "host.json"
    if not file.exists():
        known = ", ".join(names(state.resolve())) or "none"
        raise RehearsalError(f"no rehearsal host {name} in {state} (there: {known}); make one with `up {name}`")
    return Host(**json.loads(file.read_text()))


def assemble(state: Path, name: str, root: Path, disk: Path | None, *, blank: bool | None) -> None:
    """A new host folder from a root and a disk image: made beside, then renamed.

    blank: as for `create`; None for a root that has its stand-ins already.
    """
    state, here = state.resolve(), folder(state, name)
    new = here.with_name(f".new-{name}")
    remove_tree(new)
    new.mkdir(parents=True, mode=0o700)
    copy(root, new / "root")
    if blank is not None:
        furnish(new / "root", blank)
    if disk:
        copy(disk, new / "nvme.img")
    for key in ("id_ed25519", "host_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"rehearsal-{name}", "-f", str(new / key)])
    host = Host(name, "", "", 22, "root", str(here / "id_ed25519"), str(here / "known_hosts"), "")
    host = _with_network(host, _choose_network(state, name, None))
    (new / "host.json").write_text(json.dumps(asdict(host), indent=2) + "\n")
    identify(new, host)
    remove_tree(here)
    new.rename(here)


def _with_network(host: Host, net: IPv4Network) -> Host:
    return replace(host, address=str(net[2]), address_v6=f"{network.ula(net)}2", network=str(net))


def _choose_network(state: Path, name: str, wanted: IPv4Network | None) -> IPv4Network:
    """The host's network: the one it had unless another interface or host took it."""
    others = [IPv4Network(load(state, other).network) for other in names(state) if other != name]
    taken = others + network.taken_networks(network.interface_name(state, name))
    if wanted and not any(wanted.overlaps(other) for other in taken):
        return wanted
    return network.free_network(taken, start=zlib.crc32(str(state).encode()) % 64)


def _place_network(state: Path, host: Host) -> Host:
    """Writes the host's addresses, name servers and pinned key for the network that it boots with."""
    here = folder(state, host.name)
    if not (here / "root").is_dir():
        raise RehearsalError(f"{here}/root is missing (a start from a save was cut short): start from the save again")
    with network.locked():
        host = _with_network(host, _choose_network(state, host.name, IPv4Network(host.network)))
        new = here / "host.json.new"
        new.write_text(json.dumps(asdict(host), indent=2) + "\n")
        new.replace(here / "host.json")
    key = " ".join((here / "host_key.pub").read_text().split()[:2])
    (here / "known_hosts").write_text(f"{host.address},{host.address_v6} {key}\n")
    place(here / "root", "etc/systemd/network/10-host0.network", network_file(host, network.uplink_mtu_bytes()), "0644")
    place(here / "root", "etc/resolv.conf", name_servers(), "0644")
    return host


def _wait_for_ssh(state: Path, host: Host) -> None:
    """Until root can log in and others may; a host that died is not waited for."""
    deadline = time.monotonic() + BOOT_SECONDS
    wait_until(lambda: machine.running(state, host.name), seconds=5)
    while machine.running(state, host.name):
        greets = _greets(host.address, host.port)
        if greets and run([*host.ssh("root"), "test ! -e /run/nologin && echo up"], check=False).strip() == "up":
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    console = folder(state, host.name) / "console.log"
    tail = "\n".join(console.read_text(errors="replace").splitlines()[-20:])
    silent = machine.running(state, host.name)
    problem = f"did not answer SSH in {BOOT_SECONDS} s" if silent else "stopped while booting"
    raise RehearsalError(f"rehearsal host {host.name} at {host.address} {problem}; the end of {console}:\n{tail}")


def _greets(address: str, port: int) -> bool:
    """Whether an SSH server greets. A connection alone proves nothing: without the host, some networks accept any."""
    try:
        with socket.create_connection((address, port), timeout=0.3) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


if __name__ == "__main__":
    from tandem.rehearsal.cli import main

    sys.exit(main())
