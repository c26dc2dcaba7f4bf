"""Runs on the host as root, standard library only: what decides whether this host can be provisioned. Changes nothing.

Input: one JSON argument {"ports": [numbers], "uids": {name: uid}, "folders": [paths], "stores": [paths]}.
Output: one JSON line {"os": {"id", "version", "name"}, "machine", "systemd", "memory_mib", "free_mib": {folder: MiB},
"listeners": {port: {"process", "pid", "unit"}}, "uid_owners": {uid: user name}, "state": the recorded state or
null, "missing_stores": [paths]}.
"""

import glob
import json
import os
import platform
import pwd
import re
import shutil
import sys
from typing import Any

LISTEN = "0A"
STATE = "/var/lib/tandem/state.json"


def operating_system() -> dict[str, str]:
    with open("/etc/os-release") as file:
        pairs = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    values = {name: value.strip('"') for name, value in pairs.items()}
    return {"id": values.get("ID", ""), "version": values.get("VERSION_ID", ""), "name": values.get("PRETTY_NAME", "")}


def memory_mib() -> int:
    with open("/proc/meminfo") as file:
        sizes = dict(re.findall(r"(\w+):\s+(\d+) kB", file.read()))
    return int(sizes["MemTotal"]) // 1024


def free_mib(folder: str) -> int:
    """Free space where ``folder`` is or would be."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free // 2**20


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


def listeners(ports: list[int]) -> dict[str, dict[str, Any]]:
    inodes = listening_inodes(set(ports))
    found: dict[str, dict[str, Any]] = {
        str(port): {"process": "unknown", "pid": 0, "unit": ""} for port in inodes.values()
    }
    for link in glob.glob("/proc/[0-9]*/fd/*") if inodes else []:
        try:
            inode = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            if inode and inode.group(1) in inodes:
                pid = int(link.split("/")[2])
                with open(f"/proc/{pid}/comm") as file:
                    name = file.read().strip()
                found[str(inodes[inode.group(1)])] = {"process": name, "pid": pid, "unit": unit_of(pid)}
        except OSError:
            continue  # the process ended while we looked
    return found


def uid_owners(uids: set[int]) -> dict[str, str]:
    return {str(user.pw_uid): user.pw_name for user in pwd.getpwall() if user.pw_uid in uids}


def recorded_state() -> Any:
    try:
        with open(STATE) as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError:
        return {"damaged": "not JSON"}


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = {
        "os": operating_system(),
        "machine": platform.machine(),
        "systemd": os.path.isdir("/run/systemd/system"),
        "memory_mib": memory_mib(),
        "free_mib": {folder: free_mib(folder) for folder in asked["folders"]},
        "listeners": listeners(asked["ports"]),
        "uid_owners": uid_owners(set(asked["uids"].values())),
        "state": recorded_state(),
        "missing_stores": [path for path in asked["stores"] if not os.path.isdir(path)],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
