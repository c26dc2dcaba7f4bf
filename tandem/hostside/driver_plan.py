"""Which packages and versions a driver job comes to, before any of them is touched. Standard library only.

A job: {"module", "libraries", "beside", "pinning", "extra", "branch", "version": exactly this or "" for apt's
candidate, "may_change_kernel", "timeout_seconds", "apt_options"}; "module" is "" when only ``extra`` is wanted.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.domain.gpu_packages import (
    PREREQUISITES,
    choose,
    headers_package,
    kernel_metapackages,
    of_branch,
    upstream,
)
from tandem.hostside.driver_apt import Apt, AptFailed, stop, tell
from tandem.hostside.gpu_state import following_kernel, kernels, packages, text

KEPT = Path("/var/lib/tandem/driver")
"""One folder per driver version with its packages: the way back needs no network."""


@dataclass(frozen=True)
class Plan:
    """``words``: what apt-get install is told; ``brings``: {package: version} that this comes to."""

    words: list[str]
    brings: dict[str, str]
    module_version: str

    @property
    def folder(self) -> Path:
        return KEPT / upstream(self.module_version)


def resolve(apt: Apt, job: dict[str, Any]) -> Plan:
    """Ends the program with a sentence when apt would do anything else than what is wanted."""
    words: list[str] = []
    version = ""
    if job["module"]:
        known = apt.versions(job["module"], *job["libraries"])
        installed, _ = packages()
        for name, versions in known.items():
            # What is installed can stay, though its source has moved on.
            if name in installed and installed[name] not in versions:
                versions.append(installed[name])
        candidate = apt.candidate(job["module"])
        version, refusal = choose(job["module"], known[job["module"]], candidate, job["branch"], job["version"])
        if refusal:
            stop(refusal)
        words.append(f"{job['module']}={version}")
        words += [_like(name, known[name], version) for name in job["libraries"]]
        words += _followers(apt, job, version)
        words += [name for name in job["beside"] if not any(word.startswith(f"{name}=") for word in words)]
        words += [job["pinning"]] if job["pinning"] and apt.candidate(job["pinning"]) else []
    absent = [name for name in job["extra"] if not apt.candidate(name)]
    if absent:
        stop(
            f"no apt source has {', '.join(absent)}; nothing was changed: name NVIDIA's repository or a mirror of it "
            "in gpu/repositories, or set gpu/container_toolkit to False when it is there already"
        )
    words += job["extra"]
    try:
        brings = apt.would_install(*words)
    except AptFailed as problem:
        stop(str(problem), "apt can't install these packages together; nothing was changed: mend what it names first")
    _same_branch(brings, job)
    return Plan(words, brings, version)


def _like(package: str, versions: list[str], wanted: str) -> str:
    """``package`` at the version whose upstream part is that of ``wanted``."""
    found = [version for version in versions if upstream(version) == upstream(wanted)]
    if not found:
        known = ", ".join(versions[:8]) or "none"
        stop(
            f"no apt source has {package} {upstream(wanted)} (there are: {known}), so module and library would not "
            "match; nothing was changed: the source is being updated or is incomplete, try another one or later"
        )
    return f"{package}={found[0]}"


def _followers(apt: Apt, job: dict[str, Any], wanted: str) -> list[str]:
    """What the installed driver brought along: apt leaves a held package alone unless its version is named."""
    installed, _ = packages()
    old = upstream(installed.get(job["module"], ""))
    named = {job["module"], *job["libraries"]}
    names = [name for name, found in installed.items() if old and upstream(found) == old and name not in named]
    known = apt.versions(*names) if names and old != upstream(wanted) else {}
    like = [(name, version) for name, versions in known.items() for version in versions]
    return [f"{name}={version}" for name, version in like if upstream(version) == upstream(wanted)]


def _same_branch(brings: dict[str, str], job: dict[str, Any]) -> None:
    for name, version in brings.items():
        driver = re.search(r"^libnvidia-|^libcuda|nvidia-(driver|kernel|dkms|compute|utils)", name)
        numbered = re.match(r"\d{3}\.\d", upstream(version))
        if driver and numbered and name not in job["beside"] and not of_branch(version, job["branch"]):
            stop(
                f"apt would install {name} {version}, which is not of branch {job['branch']}; nothing was changed: "
                "another pin or source is in the way (apt-cache policy " + name + ")"
            )


def target_kernels() -> list[str]:
    """The kernel of the next boot, and the running one if its headers are there."""
    running, following = text("/proc/sys/kernel/osrelease").strip(), following_kernel(kernels())
    return list(dict.fromkeys([following, *([running] if has_headers(running) else [])]))


def has_headers(kernel: str) -> bool:
    return bool(kernel) and os.path.isdir(f"/lib/modules/{kernel}/build")


def prepare_build(apt: Apt, job: dict[str, Any]) -> list[str]:
    """Compiler, DKMS and headers; answers the kernels to build for. Changes a kernel only where the job allows it."""
    kernel = target_kernels()[0]
    if not kernel:
        stop("no kernel is installed in /boot, so there is nothing to build a driver for; nothing was changed")
    wanted = list(PREREQUISITES)
    if not has_headers(kernel):
        package = headers_package(kernel)
        if apt.candidate(package):
            wanted.append(package)
        else:
            wanted += _other_kernel(package, kernel, job)
    installed, _ = packages()
    missing = [name for name in wanted if name not in installed or name.startswith("linux-")]
    if missing:
        tell(f"installing {', '.join(missing)}")
        try:
            apt.install(*missing, said="compiler and headers")
        except AptFailed as problem:
            stop(str(problem), "compiler and kernel headers can't be installed; nothing of the driver was changed")
    following = target_kernels()
    if not has_headers(following[0]):
        stop(f"{headers_package(following[0])} brought no headers for kernel {following[0]}; no driver was changed")
    return following


def _other_kernel(package: str, kernel: str, job: dict[str, Any]) -> list[str]:
    """The archive keeps headers of its newest kernel only: a fresh host takes that kernel, one that serves does not."""
    metapackages = kernel_metapackages(packages()[0])
    if not metapackages or not job["may_change_kernel"]:
        stop(
            f"the next boot takes kernel {kernel} and no apt source has its headers ({package}); nothing was changed: "
            f"install a kernel whose headers there are (apt install {' '.join(metapackages) or 'linux-image-amd64'}), "
            "then run again"
        )
    tell(f"no source has {package}: taking the newest kernel instead, with its headers")
    return metapackages
