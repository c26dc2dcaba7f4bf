"""Cards, driver and the kernels that it must fit. Reads only."""

import contextlib
import glob
import os
import re
from collections.abc import Sequence
from typing import Any

from tandem.hostside.asking import run, text
from tandem.hostside.doctor_processes import units

NVIDIA = "0x10de"
DISPLAY = "0x03"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DKMS_KEY = "/var/lib/dkms/mok.pub"
MOST_LINES = 20
MODULE_FILE = re.compile(r"nvidia(?:-current)?(?:-open)?\.ko(?:\.\w+)?")
"""NVIDIA's name and Debian's."""


def bus() -> list[dict[str, str]]:
    """NVIDIA's cards on the PCI bus, driver or not."""
    names = {
        "vendor": "vendor",
        "device": "device",
        "class": "class",
        "speed": "current_link_speed",
        "width": "current_link_width",
        "most_speed": "max_link_speed",
        "most_width": "max_link_width",
    }
    found = []
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if text(f"{folder}/vendor") == NVIDIA and text(f"{folder}/class").startswith(DISPLAY):
            seen = {name: text(f"{folder}/{file}") for name, file in names.items()}
            found.append({"address": os.path.basename(folder), **seen})
    return found


def loaded() -> dict[str, Any]:
    """The kernel modules that have the cards."""
    version = re.search(r"^NVRM version:.*?\s(\d{3}\.[\d.]+)\s", text("/proc/driver/nvidia/version"), re.MULTILINE)
    words = {line.split(" ")[0] for line in text("/proc/modules").splitlines()}
    nouveau = "nouveau" in words or os.path.isdir("/sys/module/nouveau")
    return {"module": version.group(1) if version else "", "nouveau": nouveau}


def nvidia_smi(fields: Sequence[str], app_fields: Sequence[str]) -> dict[str, Any]:
    """What nvidia-smi says of the cards and of the programs on them, as text with its exit status."""
    status, cards = run("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv")
    answer: dict[str, Any] = {"status": status, "cards": cards[:8000], "apps": "", "units": {}}
    if status == 0:
        _, answer["apps"] = run("nvidia-smi", f"--query-compute-apps={','.join(app_fields)}", "--format=csv")
        pids = [int(word) for word in re.findall(r", (\d+),", answer["apps"])]
        answer["units"] = units(pids)
    return answer


def kernels() -> dict[str, Any]:
    """The running kernel, those in /boot, and for each whether it has headers and a module."""
    running = text("/proc/sys/kernel/osrelease")
    booted = [path.removeprefix("/boot/vmlinuz-") for path in glob.glob("/boot/vmlinuz-*")]
    files = ["/etc/default/grub", *sorted(glob.glob("/etc/default/grub.d/*.cfg"))]
    default = re.findall(r"^\s*GRUB_DEFAULT=(.*)$", "\n".join(text(file) for file in files), re.MULTILINE)
    saved = re.search(r"^saved_entry=(.*)$", text("/boot/grub/grubenv"), re.MULTILINE)
    return {
        "running": running,
        "boot": booted,
        "grub_default": default[-1] if default else "",
        "saved_entry": saved.group(1) if saved else "",
        "headers": [name for name in {running, *booted} if os.path.exists(f"/lib/modules/{name}/build")],
        "modules": {name: version for name in {running, *booted} if (version := module_version(name))},
    }


def module_version(kernel: str) -> str:
    """Of the nvidia module that was built or packaged for ``kernel``; "" for none."""
    for place in ("updates/dkms", "updates", "kernel/drivers/video", "kernel/nvidia*", "extra"):
        for file in glob.glob(f"/lib/modules/{kernel}/{place}/nvidia*.ko*"):
            if not MODULE_FILE.fullmatch(os.path.basename(file)):
                continue
            return run("modinfo", "-F", "version", file)[1].strip()
    return ""


def secure_boot() -> dict[str, Any]:
    """``on``: None without UEFI. ``enrolled``: the firmware trusts the key that DKMS signs with; None: not known."""
    state: bool | None = None
    with contextlib.suppress(OSError), open(SECURE_BOOT, "rb") as file:
        state = file.read()[4:5] == b"\1"
    enrolled: bool | None = None
    if state and os.path.exists(DKMS_KEY):
        status, said = run("mokutil", "--test-key", DKMS_KEY)
        enrolled = None if status == 127 else "is already enrolled" in said
    return {"on": state, "enrolled": enrolled}


def errors() -> list[str]:
    """What the driver wrote about failing cards since boot, the last lines."""
    words = "NVRM: Xid|fallen off the bus"
    status, said = run("journalctl", "-b", "-t", "kernel", "-q", "--no-pager", "-o", "cat", "--grep", words)
    return [line[:300] for line in said.splitlines() if status == 0][-MOST_LINES:]


def container_devices() -> list[str]:
    """Names of the cards in the CDI specifications of this host: "0", "1", "all"."""
    found: list[str] = []
    for path in [*glob.glob("/etc/cdi/*"), *glob.glob("/run/cdi/*")]:
        said = text(path)
        if "nvidia.com/gpu" in said:
            found += re.findall(r"""["']?name["']?:\s*["']?([\w:.-]+)""", said)
    return sorted(set(found))
