"""What is in the repository that stands in for NVIDIA's: its packages for Debian 13, by name, version and relations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STANDINS = Path(__file__).parent / "standins"
GOOD = ("580.159.03", "580.159.04", "595.84")
"""Driver versions that build; the last one is of another branch, to prove that a pin holds."""

BROKEN = "580.190.01"
"""A driver version of the branch whose module no compiler takes; in a repository of its own."""

TOOLKIT = "1.18.1"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
DKMS_CONF = """PACKAGE_NAME="nvidia"
PACKAGE_VERSION="{version}"
BUILT_MODULE_NAME[0]="nvidia"
DEST_MODULE_LOCATION[0]="/kernel/drivers/video"
MAKE[0]="'make' KERNEL_UNAME=${{kernelver}} modules"
CLEAN="'make' clean"
AUTOINSTALL="yes"
"""
MAKEFILE = """obj-m := nvidia.o
ccflags-y := -DSTANDIN_VERSION='"{version}"'{broken}
KERNEL_UNAME ?= $(shell uname -r)
modules clean:
\t$(MAKE) -C /lib/modules/$(KERNEL_UNAME)/build M=$(CURDIR) $@
"""
# What debhelper writes for every DKMS package.
DKMS_SCRIPTS = {
    "postinst": "#!/bin/sh\nset -e\n"
    '[ "$1" != configure ] || /usr/lib/dkms/common.postinst nvidia {version} "" "" "$2"\n',
    "prerm": '#!/bin/sh\nset -e\n[ "$(dkms status nvidia/{version})" = "" ] || dkms remove nvidia/{version} --all\n',
}
UNIT_SCRIPTS = {
    "postinst": "#!/bin/sh\nset -e\nsystemctl daemon-reload\nsystemctl enable --quiet nvidia-persistenced\n"
    "systemctl restart nvidia-persistenced || true\n",
    "prerm": '#!/bin/sh\nset -e\n[ "$1" != remove ] || systemctl disable --quiet --now nvidia-persistenced\n',
}
PINNING = """Package: src:*nvidia*:any src:cuda-drivers:any
Pin: version {branch}.*
Pin-Priority: 1000
"""


@dataclass(frozen=True)
class Package:
    """One package: ``files`` by their place in the host with (text or bytes, mode), ``links`` by theirs."""

    name: str
    version: str
    relations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str | bytes, int]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def control(self) -> str:
        relations = "".join(f"{name}: {value}\n" for name, value in self.relations.items())
        return (
            f"Package: {self.name}\nVersion: {self.version}\nArchitecture: amd64\nSection: non-free/kernel\n"
            f"Maintainer: Tandem rehearsal <rehearsal@example.invalid>\n{relations}"
            f"Description: A STAND-IN for NVIDIA's {self.name}\n"
        )


def driver(upstream: str, compiled: Mapping[str, bytes]) -> list[Package]:
    """The packages of one driver version, which all have to be of that version."""
    version, branch, source = f"{upstream}-1", upstream.split(".")[0], f"usr/src/nvidia-{upstream}"
    broken = " -DSTANDIN_BROKEN" if upstream == BROKEN else ""

    def same(*names: str) -> str:
        return ", ".join(f"{name} (= {version})" for name in names)

    def library(package: str, name: str) -> Package:
        file = f"{name}.so.{upstream}"
        return Package(
            package, version, {},
            {f"{LIBRARIES}/{file}": (compiled[name], 0o644)},
            {f"{LIBRARIES}/{name}.so.1": file},
        )  # fmt: skip

    return [
        Package(
            "nvidia-kernel-open-dkms", version,
            {"Depends": f"dkms (>= 3), {same('nvidia-kernel-support', 'firmware-nvidia-gsp')}",
             "Provides": "nvidia-kernel-dkms", "Conflicts": "nvidia-kernel-dkms"},
            {f"{source}/nvidia.c": (_standin("nvidia.c"), 0o644),
             f"{source}/Makefile": (MAKEFILE.format(version=upstream, broken=broken), 0o644),
             f"{source}/dkms.conf": (DKMS_CONF.format(version=upstream), 0o644)},
            scripts={name: text.format(version=upstream) for name, text in DKMS_SCRIPTS.items()},
        ),
        Package("nvidia-kernel-support", version, {"Depends": "nvidia-modprobe"}),
        Package("firmware-nvidia-gsp", version),
        Package("nvidia-modprobe", version, {}, {"usr/bin/nvidia-modprobe": (_standin("nvidia-modprobe"), 0o755)}),
        Package(
            "nvidia-persistenced", version, {},
            {"usr/bin/nvidia-persistenced": (_standin("nvidia-persistenced"), 0o755),
             "usr/lib/systemd/system/nvidia-persistenced.service": (_standin("nvidia-persistenced.service"), 0o644)},
            scripts=UNIT_SCRIPTS,
        ),
        library("libcuda1", "libcuda"),
        library("libnvidia-ml1", "libnvidia-ml"),
        Package(
            "nvidia-driver-cuda", version,
            {"Depends": f"{same('nvidia-kernel-open-dkms', 'libcuda1', 'libnvidia-ml1')}, "
                        "nvidia-persistenced, nvidia-modprobe"},
            {"usr/bin/nvidia-smi": (_standin("nvidia-smi"), 0o755)},
        ),
        *([Package(
            f"nvidia-driver-pinning-{branch}", f"{branch}-1", {},
            {f"etc/apt/preferences.d/nvidia-driver-pinning-{branch}": (PINNING.format(branch=branch), 0o644)},
        )] if upstream in (GOOD[0], GOOD[-1]) else []),
    ]  # fmt: skip


def toolkit() -> list[Package]:
    """The container toolkit and the CUDA toolkit."""
    version, base = f"{TOOLKIT}-1", "nvidia-container-toolkit-base"
    return [
        Package(base, version, {}, {"usr/bin/nvidia-ctk": (_standin("nvidia-ctk"), 0o755)}),
        Package("libnvidia-container1", version),
        Package("libnvidia-container-tools", version, {"Depends": f"libnvidia-container1 (>= {version})"}),
        Package(
            "nvidia-container-toolkit", version,
            {"Depends": f"{base} (= {version}), libnvidia-container-tools (>= {version})"},
        ),
        Package("cuda-toolkit-13-0", "13.0.2-1"),
    ]  # fmt: skip


def _standin(name: str) -> str:
    return (STANDINS / name).read_text()
