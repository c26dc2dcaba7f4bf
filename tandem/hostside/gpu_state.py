"""What a host has of cards, driver, kernels and CDI: read-only, standard library only, one call each."""

import glob
import hashlib
import json
import os
import re
import subprocess
from typing import Any

from tandem.domain.gpu_packages import upstream
from tandem.domain.kernels import next_kernel

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
CDI = "/run/cdi/nvidia.yaml"
CDI_MADE = "/run/tandem/cdi.json"
NVIDIA_VENDOR = "0x10de"
DISPLAY_CLASS = "0x03"
QUERY = "${Package}\t${db:Status-Want}\t${db:Status-Status}\t${Version}\n"
PATTERNS = ("*nvidia*", "libcuda*", "libnvcuvid*", "cuda-*", "linux-*", "dkms", "gcc", "make", "kmod")
MODULE_FILE = re.compile(r"nvidia(?:-current)?(?:-open)?\.ko(?:\.\w+)?")
KIND = re.compile(r"""^["'\s]*kind["']?:\s*["']?nvidia\.com/gpu\b""", re.MULTILINE)


def text(path: str) -> str:
    """A small file's text; "" when it can't be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def output(*command: str) -> str:
    """What a command prints; "" when it is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def cards() -> list[str]:
    """The PCI addresses of NVIDIA's cards, driver or not."""
    found = []
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        kind = text(f"{folder}/class")
        if text(f"{folder}/vendor").strip() == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASS):
            found.append(os.path.basename(folder))
    return found


def loaded() -> str:
    """The version of the loaded kernel module; "" when none is."""
    found = re.search(r"Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)*)", text("/proc/driver/nvidia/version"))
    return found.group(1) if found else ""


def packages() -> tuple[dict[str, str], list[str]]:
    """({installed package: version}, [held packages]) of all that has to do with driver and kernel."""
    rows = [line.split("\t") for line in output("dpkg-query", "-W", "-f", QUERY, *PATTERNS).splitlines()]
    installed = {name: version for name, _, status, version in rows if status == "installed"}
    return installed, sorted(name for name, want, status, _ in rows if want == "hold" and status == "installed")


def library(installed: dict[str, str]) -> str:
    """The version of the installed libcuda: of its package, else as its file name says."""
    for name, version in sorted(installed.items()):
        if name == "libcuda1" or re.fullmatch(r"libnvidia-compute(-\d+.*)?", name):
            return upstream(version)
    target = os.path.realpath("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
    found = re.search(r"libcuda\.so\.(\d+\.\d+[\d.]*)$", target)
    return found.group(1) if found else ""


def kernels() -> list[str]:
    """Those that can be booted; in a container, whose /boot is empty, those that have modules."""
    bootable = [os.path.basename(path).removeprefix("vmlinuz-") for path in glob.glob("/boot/vmlinuz-*")]
    return sorted(bootable or (os.listdir("/lib/modules") if os.path.isdir("/lib/modules") else []))


def following_kernel(known: list[str]) -> str:
    files = ["/etc/default/grub", *sorted(glob.glob("/etc/default/grub.d/*.cfg"))]
    default = re.findall(r"^\s*GRUB_DEFAULT=(.*)$", "\n".join(map(text, files)), re.MULTILINE)
    saved = re.search(r"^saved_entry=(.*)$", text("/boot/grub/grubenv"), re.MULTILINE)
    return next_kernel(known, default[-1] if default else "0", saved.group(1) if saved else "")


def module_of(kernel: str) -> dict[str, str]:
    """{"path", "version", "signer"} of the NVIDIA module file for a kernel; {} when there is none."""
    # depmod takes updates/ before all else.
    roots = (f"/lib/modules/{kernel}/updates", f"/lib/modules/{kernel}")
    for folder, _, names in (found for root in roots for found in os.walk(root)):
        for name in sorted(names):
            if MODULE_FILE.fullmatch(name):
                path = f"{folder}/{name}"
                version = output("/sbin/modinfo", "-F", "version", path).strip()
                return {
                    "path": path,
                    "version": version,
                    "signer": output("/sbin/modinfo", "-F", "signer", path).strip(),
                }
    return {}


def secure_boot() -> bool:
    """Byte 4 of the firmware's variable; the first four are its attributes."""
    try:
        with open(SECURE_BOOT, "rb") as file:
            return file.read(5)[4:] == b"\x01"
    except OSError:
        return False


def key_enrolled() -> bool:
    """The key that DKMS signs with is one of those that the firmware trusts."""
    return "is already enrolled" in output("mokutil", "--test-key", "/var/lib/dkms/mok.pub")


def sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def specifications() -> list[str]:
    """Files that describe NVIDIA's cards to container engines."""
    paths = [path for folder in ("/etc/cdi", "/run/cdi") for path in glob.glob(f"{folder}/*")]
    return sorted(path for path in paths if path.endswith((".yaml", ".json")) and KIND.search(text(path)))


def other_specifications() -> list[str]:
    """Those besides Tandem's."""
    return [path for path in specifications() if path != CDI]


def operating_system() -> dict[str, str]:
    pairs = dict(re.findall(r"^(\w+)=[\"']?(.*?)[\"']?$", text("/etc/os-release"), re.MULTILINE))
    return {"id": pairs.get("ID", ""), "version": pairs.get("VERSION_ID", "")}


def recorded(path: str) -> Any:
    """What a JSON file of ours holds; {} when it is not there or damaged, which means: make it again."""
    try:
        return json.loads(text(path) or "{}")
    except ValueError:
        return {}


def observe() -> dict[str, Any]:
    """Everything at once. ``modules`` and ``headers`` are asked for the running and the next kernel."""
    installed, held = packages()
    running, following = text("/proc/sys/kernel/osrelease").strip(), following_kernel(kernels())
    asked = sorted({running, following} - {""})
    return {
        "os": operating_system(),
        "cards": cards(),
        "loaded": loaded(),
        "nouveau": os.path.isdir("/sys/module/nouveau"),
        "kernel": running,
        "next_kernel": following,
        "boot_id": text("/proc/sys/kernel/random/boot_id").strip(),
        "headers": {kernel: os.path.isdir(f"/lib/modules/{kernel}/build") for kernel in asked},
        "modules": {kernel: module_of(kernel) for kernel in asked},
        "packages": installed,
        "held": held,
        "library": library(installed),
        "secure_boot": secure_boot(),
        "key_enrolled": secure_boot() and key_enrolled(),
        "cdi_sha256": sha256(CDI),
        "cdi_made": recorded(CDI_MADE),
        "cdi_others": other_specifications(),
    }
