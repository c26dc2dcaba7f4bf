"""Disks: free space where things go, and the health of NVMe disks. Reads only."""

import glob
import json
import os
import re
import shutil
from typing import Any

from tandem.hostside.asking import MISSING, run, text


def space(folder: str) -> dict[str, Any]:
    """Where ``folder`` is or would be. ``mounted``: it is a mount point itself; ``kind``: of the filesystem."""
    there = folder
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    found = shutil.disk_usage(there)
    device, kind = _mount(there)
    return {
        "free_mib": found.free // 2**20,
        "size_mib": found.total // 2**20,
        "device": device,
        "kind": kind,
        "mounted": os.path.ismount(folder),
    }


def _mount(folder: str) -> tuple[str, str]:
    best = ("", "", "")
    for line in text("/proc/self/mounts").splitlines():
        device, where, kind = line.split(" ")[:3]
        if (folder == where or folder.startswith(where.rstrip("/") + "/")) and len(where) >= len(best[0]):
            best = (where, device, kind)
    return best[1], best[2]


def nvme() -> dict[str, Any]:
    """{"tool": the program that tells, "" for none, "disks": {device: what its health log says}}."""
    found: dict[str, Any] = {"tool": "", "disks": {}}
    for folder in sorted(glob.glob("/sys/class/nvme/nvme*")):
        device = f"/dev/{os.path.basename(folder)}"
        tool, seen = _health(device)
        found["tool"] = found["tool"] or tool
        found["disks"][device] = {"model": text(f"{folder}/model"), **seen}
    return found


def _health(device: str) -> tuple[str, dict[str, Any]]:
    for tool, command in {
        "nvme": ("nvme", "smart-log", device, "-o", "json"),
        "smartctl": ("smartctl", "--json", "--all", device),
    }.items():
        status, said = run(*command)
        if status != MISSING:
            try:
                log = json.loads(said)
            except ValueError:
                return tool, {"why": (said.strip().splitlines() or [f"{tool} ended with status {status}"])[0][:200]}
            return tool, read_log(log)
    return "", {}


def read_log(log: dict[str, Any]) -> dict[str, Any]:
    """The health log of a disk as nvme-cli or smartmontools write it; they name the same numbers differently."""
    log = log.get("nvme_smart_health_information_log", log)
    names = {
        "warning": ("critical_warning",),
        "worn_percent": ("percent_used", "percentage_used"),
        "media_errors": ("media_errors",),
        "spare_percent": ("avail_spare", "available_spare"),
    }
    seen: dict[str, Any] = {}
    for name, keys in names.items():
        values = [log[key] for key in keys if key in log]
        # Newer nvme-cli writes the warning as {"value": 0, ...}.
        value = values[0].get("value", 0) if values and isinstance(values[0], dict) else (values or [None])[0]
        number = re.match(r"\d+", str(value))
        seen[name] = int(number.group()) if number else None
    return seen
