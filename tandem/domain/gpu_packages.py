"""The packages of driver, toolkit and CUDA: the one table of what differs between operating systems. Pure.

Debian 13 is tested; Ubuntu 24.04 is rendered only.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Packages:
    """Names for one operating system and source; ``{branch}`` stands for the driver's branch.

    ``module``: the DKMS package, whose version decides. ``libraries``: what must have the same upstream version.
    ``beside``: what is taken at apt's candidate. ``pinning``: keeps floating names in the branch; "" where the source
    has none. ``cuda``: the CUDA toolkit of a branch.
    """

    module: str
    libraries: tuple[str, ...]
    beside: tuple[str, ...]
    pinning: str
    cuda: str

    def of(self, branch: str) -> "Packages":
        """The same with every ``{branch}`` and ``{cuda}`` filled in; ``cuda`` is "" for a branch without toolkit."""

        def fill(name: str) -> str:
            return name.format(branch=branch, cuda=CUDA_OF_BRANCH.get(branch, ""))

        return Packages(
            module=fill(self.module),
            libraries=tuple(map(fill, self.libraries)),
            beside=tuple(map(fill, self.beside)),
            pinning=fill(self.pinning),
            cuda="" if "{cuda}" in self.cuda and branch not in CUDA_OF_BRANCH else fill(self.cuda),
        )


CUDA_OF_BRANCH: Final = {"535": "12-2", "550": "12-4", "570": "12-8", "575": "12-9", "580": "13-0", "590": "13-1"}
"""The newest CUDA toolkit that a driver branch was made for: later ones need a later driver."""

_NVIDIA_DEBIAN: Final = Packages(
    module="nvidia-kernel-open-dkms",
    libraries=("nvidia-driver-cuda", "libcuda1", "libnvidia-ml1"),
    beside=("nvidia-persistenced", "nvidia-modprobe"),
    pinning="nvidia-driver-pinning-{branch}",
    cuda="cuda-toolkit-{cuda}",
)
TABLE: Final = {
    ("debian", "13", "nvidia"): _NVIDIA_DEBIAN,
    ("debian", "13", "distro"): Packages(
        module="nvidia-open-kernel-dkms",
        libraries=("nvidia-smi", "libcuda1", "libnvidia-ml1"),
        beside=("nvidia-persistenced", "nvidia-modprobe"),
        pinning="",
        cuda="nvidia-cuda-toolkit",
    ),
    ("ubuntu", "24.04", "nvidia"): Packages(
        module="nvidia-dkms-{branch}-open",
        libraries=("libnvidia-compute-{branch}", "nvidia-utils-{branch}"),
        beside=("nvidia-persistenced", "nvidia-modprobe"),
        pinning="nvidia-driver-pinning-{branch}",
        cuda="cuda-toolkit-{cuda}",
    ),
    ("ubuntu", "24.04", "distro"): Packages(
        module="nvidia-dkms-{branch}-server-open",
        libraries=("libnvidia-compute-{branch}-server", "nvidia-utils-{branch}-server"),
        beside=("nvidia-compute-utils-{branch}-server",),
        pinning="",
        cuda="nvidia-cuda-toolkit",
    ),
}
TOOLKIT: Final = "nvidia-container-toolkit-base"
"""Enough for CDI: the rest of the toolkit is the legacy hook."""

PREREQUISITES: Final = ("dkms", "gcc", "make", "kmod")

DRIVER_GLOBS: Final = ("*nvidia*", "libcuda1", "libcudadebugger1", "libnvcuvid1", "cuda-drivers*", "cuda-compat*")
"""What a pin by driver version speaks of. Other packages with these names (the container toolkit) have versions that
no driver branch has, so a pin by version never touches them.
"""

_HELD: Final = re.compile(r"nvidia|^(libcuda|libnvcuvid|cuda-|xserver-xorg-video-nvidia)")
_KERNEL_META: Final = re.compile(
    r"^linux-(?:(?:image|headers|modules(?:-extra)?)-(?!\d|unsigned-\d)"
    r"|(?:aws|azure|cloud|gcp|generic|kvm|lowlatency|oem|server|virtual)(?:-|$))"
)


def packages_of(system: tuple[str, str], source: str, branch: str) -> Packages | None:
    """The names for (os id, version); those of Debian 13 for any other Debian; None for a system without a row."""
    row = TABLE.get((*system, source)) or (TABLE.get(("debian", "13", source)) if system[0] == "debian" else None)
    return row.of(branch) if row else None


def to_hold(installed: Iterable[str]) -> list[str]:
    """The installed packages that nobody but Tandem may move: driver, toolkit, and the kernel's metapackages, whatever
    flavour they are of. A kernel's own package (linux-image-6.12.1-amd64) never changes by itself.
    """
    return sorted(name for name in installed if _HELD.search(name) or _KERNEL_META.search(name))


def headers_package(kernel: str) -> str:
    return f"linux-headers-{kernel}"


def kernel_metapackages(installed: Iterable[str]) -> list[str]:
    """The installed kernel images' metapackages and the headers' ones that belong to them."""
    images = [name for name in installed if name.startswith("linux-image-") and _KERNEL_META.search(name)]
    return [word for image in sorted(images) for word in (image, image.replace("-image-", "-headers-", 1))]


def upstream(version: str) -> str:
    """580.159.04 of the package version 1:580.159.04-1."""
    return version.split(":", 1)[-1].rsplit("-", 1)[0]


def of_branch(version: str, branch: str) -> bool:
    return upstream(version).split(".")[0] == branch


def choose(package: str, versions: Sequence[str], candidate: str, branch: str, exactly: str) -> tuple[str, str]:
    """Which version of the module's package is to be installed: (version, "") or ("", the sentence that refuses).

    + versions: every version that apt knows, newest first
    + candidate: the one that apt would take; "" for none
    + exactly: the upstream version that is wanted; "" for the candidate
    """
    left = "the driver was left as it was"
    if not versions:
        return "", (
            f"no apt source has {package}; {left}: name a repository that has it in gpu/repositories "
            "(for distro: enable non-free in the host's own sources)"
        )
    known = ", ".join(versions[:8])
    if exactly:
        found = [version for version in versions if upstream(version) == exactly]
        if not found:
            return (
                "",
                f"no apt source has {package} {exactly}, only {known}; {left}: set gpu/driver_version to one of these",
            )
        return found[0], ""
    if not candidate or not of_branch(candidate, branch):
        return "", (
            f"apt would install {package} {candidate or 'in no version'}, which is not of branch {branch} "
            f"(there are {known}); {left}: set gpu/driver_branch, or remove another pin in /etc/apt/preferences.d"
        )
    return candidate, ""
