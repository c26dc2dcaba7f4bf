"""A host without a fault, as ``observe_doctor`` describes it, for the tests to spoil."""

import copy
from collections.abc import Mapping
from typing import Any

from tandem.domain.cards import FIELDS
from tandem.domain.checks import CardNeeds, Check, Needs
from tandem.domain.doctor import checks, refusals

KERNEL, LATER = "6.12.90+deb13-amd64", "6.12.107+deb13-amd64"
DRIVER = "580.159.04"
IMAGE = "registry.example/vllm@sha256:" + "a" * 64

CARD = {
    "index": "0",
    "name": "NVIDIA GeForce RTX 4090 D",
    "uuid": "GPU-1",
    "pci.bus_id": "00000000:01:00.0",
    "pci.device_id": "0x268510DE",
    "memory.total": "24564 MiB",
    "memory.used": "1 MiB",
    "driver_version": DRIVER,
    "pstate": "P8",
    "pcie.link.gen.current": "1",
    "pcie.link.gen.max": "4",
    "pcie.link.width.current": "16",
    "pcie.link.width.max": "16",
    "persistence_mode": "Enabled",
    "ecc.mode.current": "Disabled",
    "ecc.errors.uncorrected.volatile.total": "[N/A]",
    "power.limit": "425.00 W",
    "power.min_limit": "150.00 W",
    "power.max_limit": "425.00 W",
}
SECOND = CARD | {"index": "1", "uuid": "GPU-2", "pci.bus_id": "00000000:41:00.0"}
BUS = [
    {
        "address": f"0000:{bus}:00.0",
        "vendor": "0x10de",
        "device": "0x2685",
        "class": "0x030000",
        "speed": "2.5 GT/s PCIe",
        "width": "16",
        "most_speed": "16.0 GT/s PCIe",
        "most_width": "16",
    }
    for bus in ("01", "41")
]


def smi(*cards: Mapping[str, str], apps: str = "", units: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What nvidia-smi says of these cards."""
    lines = [", ".join(FIELDS), *(", ".join(card[field] for field in FIELDS) for card in cards)]
    header = "gpu_uuid, pid, process_name, used_gpu_memory [MiB]"
    return {"status": 0, "cards": "\n".join(lines) + "\n", "apps": f"{header}\n{apps}", "units": dict(units or {})}


def said(text: str, status: int) -> dict[str, Any]:
    """nvidia-smi that fails."""
    return {"status": status, "cards": text, "apps": "", "units": {}}


NO_DRIVER: dict[str, Any] = {
    "smi": said("", 127),
    "module": "",
    "packages": {"held": [], "driver": {}, "security": {}},
    "kernels": {
        "running": KERNEL,
        "boot": [KERNEL],
        "grub_default": "0",
        "saved_entry": "",
        "headers": [],
        "modules": {},
    },
    "container_devices": [],
}
GOOD: dict[str, Any] = {
    "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
    "machine": "x86_64",
    "processor": "AMD Ryzen 9 7950X 16-Core Processor",
    "processors": 32,
    "memory_mib": 64_000,
    "systemd": True,
    "container": "",
    "synchronised": True,
    "skew_seconds": 0.2,
    "space": {
        "/": {"free_mib": 100_000, "size_mib": 200_000, "device": "/dev/sda1", "kind": "ext4", "mounted": True},
        "/srv/weights": {
            "free_mib": 900_000,
            "size_mib": 900_000,
            "device": "/dev/nvme0n1",
            "kind": "xfs",
            "mounted": True,
        },
    },
    "nvme": {
        "tool": "nvme",
        "disks": {
            "/dev/nvme0": {
                "model": "Fast 1TB",
                "warning": 0,
                "worn_percent": 3,
                "media_errors": 0,
                "spare_percent": 100,
            }
        },
    },
    "listeners": {},
    "card_holders": [],
    "runtimes": [],
    "bus": BUS,
    "smi": smi(CARD, SECOND),
    "module": DRIVER,
    "nouveau": False,
    "secure_boot": {"on": False, "enrolled": None},
    "xid": [],
    "kernels": {
        "running": KERNEL,
        "boot": [KERNEL],
        "grub_default": "0",
        "saved_entry": "",
        "headers": [KERNEL],
        "modules": {KERNEL: DRIVER},
    },
    "container_devices": ["0", "1", "all"],
    "packages": {
        "held": [["libcuda1", "hi"]],
        "driver": {"libcuda1": f"{DRIVER}-1", "libnvidia-ml1": f"{DRIVER}-1"},
        "security": {},
    },
    "apt": {"unattended": False, "blacklist": [], "reboots": False},
    "uid_owners": {},
    "state": None,
    "absent": {"packages": ["Tandem's packages"], "driver": [], "images": [IMAGE], "weights": ["f" * 40]},
    "missing_stores": [],
    "missing_paths": [],
    "network": {
        "servers": ["192.0.2.53"],
        "asked": {"packages": ["http://deb.example/debian"], "images": ["https://registry.example"]},
        "answers": {
            "http://deb.example/debian": {"state": "answers", "why": "", "seconds": 0.02, "proxy": ""},
            "https://registry.example": {"state": "answers", "why": "", "seconds": 0.2, "proxy": ""},
        },
        "names": ["http://deb.example/debian", "https://registry.example"],
    },
}
NEEDS = Needs(
    ports={443: "the edge (HTTPS)"},
    weights_bytes=13 * 2**30,
    weights_device="/dev/nvme0n1",
    sources={"packages": (), "images": ("https://registry.example",)},
    folders={"weights": ("/root/models",)},
)
BY_HAND = CardNeeds(driver_source="none", container_toolkit=False)


def spoiled(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def rows(changes: Mapping[str, Any], needs: Needs = NEEDS) -> dict[str, Check]:
    """The rows by name."""
    return {row.name: row for row in checks(needs, spoiled(changes))}


def not_passed(changes: Mapping[str, Any], needs: Needs = NEEDS) -> dict[str, str]:
    """{name: level} of the rows that warn or fail."""
    return {row.name: row.level for row in checks(needs, spoiled(changes)) if row.level != "ok"}


def reasons(changes: Mapping[str, Any], needs: Needs = NEEDS) -> list[str]:
    """The sentences that refuse the host."""
    return refusals(checks(needs, spoiled(changes)))
