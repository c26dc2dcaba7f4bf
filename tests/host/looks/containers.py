"""Runs on the host as root, standard library only: the running containers as the kernel sees them, as one JSON line."""

import glob
import json
import os
import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# In the container: a connection that must work (to itself) beside the one that must not.
TRY = """
import socket, sys
for place in sys.argv[1:]:
    address, port = place.rsplit("/", 1)
    try:
        socket.create_connection((address, int(port)), timeout=1.5).close()
        print("connected")
    except OSError as error:
        print(type(error).__name__)
"""
QUIET = ("tmpfs", "proc", "sysfs", "cgroup2", "devpts", "mqueue", "devtmpfs")


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def content(path: str) -> str:
    with open(path) as file:
        return file.read()


def status(pid: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in content(f"/proc/{pid}/status").splitlines() if ":\t" in line)


def inside(pid: int) -> list[dict[str, str]]:
    """Every process in the mount namespace of the container's first one."""
    wanted = os.readlink(f"/proc/{pid}/ns/mnt")
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/mnt") == wanted:
                found.append(status(entry))
        except OSError:
            continue  # ended meanwhile, or a thread of the kernel
    return found


def writable(pid: int) -> list[str]:
    """Mount points on a real file system that are not read-only."""
    found = []
    for line in content(f"/proc/{pid}/mountinfo").splitlines():
        before, after = line.split(" - ")
        if "ro" not in before.split()[5].split(",") and after.split()[0] not in QUIET:
            found.append(before.split()[4])
    return found


def own_service() -> str:
    """An address of this host that is not loopback, and a port of it that answers the host itself."""
    addresses = [found["local"] for link in json.loads(output("ip", "-json", "address")) for found in link["addr_info"]
                 if found["scope"] == "global" and found["family"] == "inet"]  # fmt: skip
    listening = output("ss", "-Hlnt").splitlines()
    ports = [int(line.split()[3].rpartition(":")[2]) for line in listening if not line.split()[3].startswith("127.")]
    for address in addresses:
        for port in sorted(ports):
            try:
                socket.create_connection((address, port), timeout=1.5).close()
                return f"{address}/{port}"
            except OSError:
                continue
    raise SystemExit(f"none of {addresses} answers this host on any of the ports {sorted(ports)}")


def look(path: str, target: str) -> tuple[str, dict[str, Any]]:
    text = content(path)
    name = re.findall(r"^ContainerName=(\S+)", text, re.MULTILINE)[0]
    found = json.loads(output("podman", "inspect", "--type=container", name))[0]
    port = re.findall(r'--port (\d+)|"PORT=(\d+)"', text)[0]
    image = re.findall(r"^Image=(\S+)", text, re.MULTILINE)[0]
    tried = output("podman", "exec", name, "python3", "-c", TRY, f"127.0.0.1/{''.join(port)}", target).split()
    pid = found["State"]["Pid"]
    return name, {
        "unit_file": text,
        "wanted_image": image,
        "image_digest": found["ImageDigest"],
        "running": found["State"]["Running"],
        "created_with": found["Config"]["CreateCommand"],
        "processes": inside(pid),
        "writable": writable(pid),
        "to_itself": tried[0],
        "to_the_network": tried[1],
        "port": int("".join(port)),
    }


def main() -> None:
    target = own_service()
    files = sorted(glob.glob("/etc/containers/systemd/*.container"))
    with ThreadPoolExecutor() as pool:
        found = dict(pool.map(lambda path: look(path, target), files))
    store = json.loads(output("podman", "info", "--format=json"))["store"]
    print(json.dumps({"target": target, "containers": found, "store": store["graphRoot"]}))


if __name__ == "__main__":
    main()
