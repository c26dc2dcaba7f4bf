"""Runs on the host as root, standard library only: driver, holds, CDI and guard of the cards, as one JSON line."""

import glob
import json
import os
import re
import subprocess


def read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except OSError:
        return ""


def installed() -> dict[str, str]:
    rows = output("dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Version}\n").splitlines()
    return {name: version for name, status, version in (row.split("\t") for row in rows) if status == "installed"}


def units() -> dict[str, dict[str, str]]:
    names = ["tandem-cdi.service", "tandem-driver-check.service", "tandem-driver-check.timer"]
    properties = "--property=Id,LoadState,ActiveState,Result,RequiredBy,Before,UnitFileState"
    blocks = output("systemctl", "show", properties, *names).strip().split("\n\n")
    return {
        name: dict(line.split("=", 1) for line in block.splitlines()) for name, block in zip(names, blocks, strict=True)
    }


def main() -> None:
    version = re.search(r"Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)*)", read("/proc/driver/nvidia/version"))
    kernels = sorted(path.removeprefix("/boot/vmlinuz-") for path in glob.glob("/boot/vmlinuz-*"))
    sources = glob.glob("/etc/apt/sources.list.d/tandem-*.sources")
    answer = {
        "loaded": version.group(1) if version else "",
        "packages": installed(),
        "held": output("apt-mark", "showhold").split(),
        "modules": {
            kernel: glob.glob(f"/lib/modules/{kernel}/updates/**/nvidia*.ko*", recursive=True) for kernel in kernels
        },
        "sources": {path: read(path) for path in sources},
        "blacklist": output("apt-config", "dump", "Unattended-Upgrade::Package-Blacklist"),
        "cdi": read("/run/cdi/nvidia.yaml"),
        "units": units(),
        "mismatch": read("/run/tandem/driver-mismatch"),
        "proof": read("/var/lib/tandem/cuda-proof.json"),
        "nouveau": bool(re.search(r"^nouveau ", read("/proc/modules"), re.MULTILINE)),
        "keys": [path for path in glob.glob("/etc/apt/keyrings/tandem-*.asc") if os.path.getsize(path)],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
