"""Runs on the host as root, standard library only: what systemd, the kernel and the file system say, as one JSON line.

Input: one JSON argument {"users": [names], "units": [further unit names]}.
"""

import glob
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from typing import Any

SHOWN = (
    "Id,LoadState,ActiveState,SubState,Result,UnitFileState,NeedDaemonReload,NRestarts,MainPID,InvocationID,User,"
    "ConditionResult,RequiresMountsFor,IPAddressDeny,IPAddressAllow,What,Where,Options,CapabilityBoundingSet,"
    "ActiveEnterTimestampMonotonic"
)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def content(path: str) -> str:
    with open(path) as file:
        return file.read()


def owned_units() -> list[str]:
    """The units that Tandem runs here, under the names that systemd knows them by: not those that it masks."""
    quadlets = [f"{os.path.basename(path)[:-10]}.service" for path in glob.glob("/etc/containers/systemd/*.container")]
    manifest = json.loads(content("/var/lib/tandem/manifest.json"))["paths"]
    plain = [path for path in manifest if re.fullmatch(r"/etc/systemd/system/[^/]+\.(service|mount|timer)", path)]
    # A service that nobody starts at boot (a timer does, or the guard) is at rest most of the time.
    resting = {path for path in plain if path.endswith(".service") and "[Install]" not in content(path)}
    masked = {path for path in plain if os.path.realpath(path) == "/dev/null"}
    return sorted({*quadlets, *(os.path.basename(path) for path in plain if path not in resting | masked)})


def show(units: list[str]) -> dict[str, dict[str, str]]:
    blocks = output("systemctl", "show", f"--property={SHOWN}", *units).strip().split("\n\n")
    found = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
    return dict(zip(units, found, strict=True))


def see(path: str) -> dict[str, Any]:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return {"kind": "missing"}
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return {
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "target": os.readlink(path) if stat.S_ISLNK(found.st_mode) else None,
    }


def below(folder: str) -> dict[str, dict[str, Any]]:
    names = [os.path.join(at, name) for at, folders, files in os.walk(folder) for name in [*folders, *files]]
    return {path: see(path) for path in [folder, *names]}


def listeners() -> list[dict[str, Any]]:
    """Every listening TCP and bound UDP socket with the process and the unit that hold it."""
    found = []
    for line in output("ss", "-Hlntup").splitlines():
        words = line.split()
        address, _, port = words[4].rpartition(":")
        holders = re.findall(r'\("([^"]+)",pid=(\d+)', line)
        found.append(
            {
                "protocol": words[0],
                "address": address.split("%")[0].strip("[]"),
                "port": int(port),
                "programs": sorted({name for name, _ in holders}),
                "units": sorted({unit_of(pid) for _, pid in holders}),
            }
        )
    return found


def unit_of(pid: str) -> str:
    try:
        parts = content(f"/proc/{pid}/cgroup").strip().split("/")
    except FileNotFoundError:
        return ""
    return next((part for part in parts if part.endswith((".service", ".socket", ".scope"))), "")


def processes() -> dict[str, dict[str, Any]]:
    """Main process of each Nginx unit: user, capabilities."""
    found = {}
    for unit in ("tandem-edge", "tandem-gate", "tandem-router-engine", "tandem-router-webui"):
        pid = output("systemctl", "show", "--value", "--property=MainPID", f"{unit}.service").strip()
        lines = content(f"/proc/{pid}/status").splitlines() if pid != "0" else []
        found[unit] = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return found


def exposures() -> dict[str, float]:
    table = json.loads(output("systemd-analyze", "security", "--no-pager", "--json=short"))
    return {row["unit"]: float(row["exposure"]) for row in table}


def users(names: list[str]) -> dict[str, Any]:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return {name: [known[name].pw_uid, known[name].pw_shell] if name in known else None for name in names}


def settings() -> dict[str, list[str]]:
    """Each kernel setting of Tandem's file: [as wanted, as it is]."""
    lines = [line.split("=") for line in content("/etc/sysctl.d/60-tandem.conf").splitlines() if line[:1] not in "#"]
    names = {name.strip(): value.strip() for name, value in lines}
    return {name: [value, content(f"/proc/sys/{name.replace('.', '/')}").strip()] for name, value in names.items()}


def main() -> None:
    asked = json.loads(sys.argv[1])
    owned = owned_units()
    units = show([*owned, *asked["units"]])
    answer = {
        "owned": owned,
        "units": units,
        "texts": {unit: output("systemctl", "cat", unit) for unit in owned},
        "exposures": exposures(),
        "listeners": listeners(),
        "processes": processes(),
        "tree": below("/etc/tandem") | below("/var/lib/tandem/split"),
        "parked": sorted(os.path.basename(path) for path in glob.glob("/var/lib/tandem/parked/*")),
        "manifest": {path: see(path) for path in json.loads(content("/var/lib/tandem/manifest.json"))["paths"]},
        "program": below("/usr/local/lib/tandem"),
        "leftovers": [path for path in below("/etc") if re.search(r"/\.[^/]*\.tandem$|/\.incoming-|\.new$", path)],
        "state": json.loads(content("/var/lib/tandem/state.json")),
        "status": json.loads(output("tandemctl", "status", "--json")),
        "served": json.loads(output("tandemctl", "served", "--json")),
        "nginx": {path: content(path) for path in glob.glob("/etc/tandem/*/current/nginx.conf")},
        "ssh_sockets": output("systemctl", "show", "--value", "--property=Listen", "ssh.socket"),
        "users": users(asked["users"]),
        "settings": settings(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
