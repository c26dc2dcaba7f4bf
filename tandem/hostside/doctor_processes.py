"""Who runs here: listeners on ports, programs that hold a card, container runtimes of others. Reads /proc only."""

import glob
import os
import re
from typing import Any

LISTEN = "0A"
RUNTIMES = ("dockerd", "containerd", "k3s-server", "k3s-agent", "kubelet", "crio", "nomad", "lxd", "incusd")
OWN_UNITS = ("tandem-", "vllm-", "open-webui-")


def listening_inodes(ports: set[int]) -> dict[str, int]:
    """{socket inode: port} of TCP listeners on the given ports."""
    found = {}
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as file:
                rows = [line.split() for line in file][1:]
        except FileNotFoundError:
            continue
        for row in rows:
            port = int(row[1].rsplit(":", 1)[1], 16)
            if row[3] == LISTEN and port in ports:
                found[row[9]] = port
    return found


def unit_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup") as file:
        parts = re.findall(r"[^/\n]+\.(?:service|scope)", file.read())
    return parts[0] if parts else ""


def name_of(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def open_files(ports: list[int]) -> dict[str, Any]:
    """{"listeners": {port: {"process", "pid", "unit"}}, "card_holders": [{"process", "pid", "unit"}]}."""
    inodes = listening_inodes(set(ports))
    listeners: dict[str, dict[str, Any]] = {
        str(port): {"process": "unknown", "pid": 0, "unit": ""} for port in inodes.values()
    }
    holders: dict[int, dict[str, Any]] = {}
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
            inode = target.removeprefix("socket:[").rstrip("]")
            card = re.fullmatch(r"/dev/nvidia\d+", target)
            if not card and inode not in inodes:
                continue
            pid = int(link.split("/")[2])
            who = {"process": name_of(pid), "pid": pid, "unit": unit_of(pid)}
            if card:
                holders[pid] = who
            else:
                listeners[str(inodes[inode])] = who
        except OSError:
            continue  # the process ended while we looked
    return {"listeners": listeners, "card_holders": list(holders.values())}


def runtimes() -> list[str]:
    """Container runtimes that run, and Podman containers that aren't Tandem's, by the unit they belong to."""
    found = set()
    for folder in glob.iglob("/proc/[0-9]*"):
        try:
            pid = int(folder.rsplit("/", 1)[1])
            name, unit = name_of(pid), unit_of(pid)
        except OSError:
            continue
        if name in RUNTIMES and not unit.startswith(OWN_UNITS):
            found.add(name)
        elif name == "conmon" and not unit.startswith(OWN_UNITS):
            found.add(f"a Podman container of {unit or 'no unit'}")
    return sorted(found)


def units(pids: list[int]) -> dict[str, str]:
    """{pid: unit} of those that still run."""
    found = {}
    for pid in pids:
        try:
            found[str(pid)] = unit_of(pid)
        except OSError:
            continue
    return found
