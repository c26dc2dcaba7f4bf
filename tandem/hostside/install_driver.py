"""Runs on the host as root, standard library only: tries, installs, loads and holds the driver, one phase at a time.

Input: one JSON argument: a job (see ``tandem.hostside.driver_plan``) with "phase" and "units": what was stopped for it.

- ``trial``: compiler and headers, download, and a real build in a folder of its own. Nothing of the driver is changed.
- ``install``: stops the units, then the packages; the module must be there for the kernel of the next boot, else the
  old packages come back and the units are started again.
- ``load``: the module without a reboot, where that is possible. Always ends with status 0.
- ``hold``: apt-mark hold on what only Tandem may move, and a look whether it is so.
- ``back``: the packages of the version that ``install`` replaced, from /var/lib/tandem/driver.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tandem.domain.gpu_packages import to_hold, upstream
from tandem.hostside.driver_apt import Apt, AptFailed, ask, deb, stop, tell
from tandem.hostside.driver_plan import KEPT, Plan, prepare_build, resolve, target_kernels
from tandem.hostside.files import write_atomic
from tandem.hostside.gpu_state import loaded, module_of, packages, recorded, secure_boot, text
from tandem.hostside.trial_build import BuildFailed, build, build_in_place

CHANGE = KEPT / "change.json"
"""{"from", "to"} while a changed driver has not proven itself."""

LOCK = "/run/tandem/driver.lock"  # not in /run/lock, where everybody may put a link of that name
OTHER_JOB_SECONDS = 3600
"""A real driver is built for ten minutes, twice, on a slow machine, after its download."""
LOOK_EVERY_SECONDS = 5

UNTOUCHED = "Nothing of the driver was installed or changed; the host goes on as before."


def driver_packages(installed: dict[str, str], version: str) -> dict[str, str]:
    """The installed packages of one driver version."""
    return {name: found for name, found in installed.items() if version and upstream(found) == version}


def trial(apt: Apt, job: dict[str, Any]) -> None:
    try:
        apt.update()
    except AptFailed as problem:
        stop(str(problem), f"the package lists can't be refreshed: {_why(str(problem))}. {UNTOUCHED}")
    plan = resolve(apt, job)
    if not job["module"]:
        return
    kernels = prepare_build(apt, job)
    _keep(apt, plan)
    package = deb(plan.folder, job["module"], plan.module_version)
    if package is None:
        stop(f"{job['module']} {plan.module_version} was not downloaded to {plan.folder}. {UNTOUCHED}")
    tell(f"trying to build {package.name} for kernel {', '.join(kernels)}")
    try:
        build(package, kernels)
    except BuildFailed as problem:
        stop(f"trial build failed: {problem}", UNTOUCHED)


def _why(said: str) -> str:
    unsigned = re.search(r"The repository '(\S+).*' is not signed|signature verification failed: (\S+)", said)
    if unsigned:
        where = unsigned.group(1) or unsigned.group(2)
        return f"{where} is not signed by the key that gpu/repositories names for it: give the key of that repository"
    return "see the line that begins with E:"


def _keep(apt: Apt, plan: Plan) -> None:
    """The packages of the new version, and those of the installed one, as files."""
    module = plan.module_version
    ours = {name: version for name, version in plan.brings.items() if upstream(version) == upstream(module)}
    ours |= {word.split("=")[0]: word.split("=")[1] for word in plan.words if "=" in word}
    try:
        apt.download(plan.folder, ours)
    except AptFailed as problem:
        stop(str(problem), f"the driver's packages can't be downloaded. {UNTOUCHED}")
    old = _installed_version(plan)
    if old and old != upstream(module):
        try:
            apt.download(KEPT / old, driver_packages(packages()[0], old))
        except AptFailed:
            tell(f"no source has the packages of {old} any more: there will be no way back to it without them")


def _installed_version(plan: Plan) -> str:
    names = [word.split("=")[0] for word in plan.words if "=" in word]
    return upstream(packages()[0].get(names[0], "")) if names else ""


def install(apt: Apt, job: dict[str, Any]) -> None:
    plan = resolve(apt, job)
    old, new = _installed_version(plan), upstream(plan.module_version)
    if old and old != new:
        write_atomic(CHANGE, json.dumps({"from": old, "to": new}) + "\n")
    if plan.brings:
        tell(f"installing {len(plan.brings)} packages" + (f" of driver {new}" if new else ""))
    for unit in job["units"]:
        tell(f"draining and stopping {unit}")
        ask("systemctl", "stop", unit)
    try:
        apt.install(*plan.words, said="installing", archives=plan.folder if new else None)
        problem = _built(new) if new else ""
    except AptFailed as failed:
        problem = str(failed)
    if problem and old and old != new:
        tell(problem)
        back(apt, job)
        stop(f"driver {new} could not be installed; {old} was put back and the host goes on with it")
    if problem:
        stop(problem, f"{new or ', '.join(plan.words)} could not be installed: mend the cause and run again")
    for kernel in target_kernels() if new else []:
        if os.path.exists("/usr/sbin/update-initramfs"):
            ask("update-initramfs", "-u", "-k", kernel)
    hold(apt, job)
    if new:
        _forget({new, old or new, str(recorded(str(CHANGE)).get("from", new))})


def _forget(kept: set[str]) -> None:
    """Packages of versions that nobody goes back to; a driver's are half a gigabyte."""
    for folder in KEPT.iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)


def _built(version: str) -> str:
    """Why the module of ``version`` can't be loaded at the next boot; "" when it is there. Builds what is missing."""
    kernels = target_kernels()
    for kernel in kernels:
        if module_of(kernel).get("version") != version:
            build_in_place(kernel)
    module = module_of(kernels[0])
    if not module:
        return f"DKMS left no module for kernel {kernels[0]}, which the next boot takes (dkms status says more)"
    if module["version"] != version:
        return f"{module['path']} is version {module['version']}, not {version}"
    if secure_boot() and not module["signer"]:
        return f"{module['path']} is not signed and Secure Boot is on"
    tell(f"module {version} is ready for kernel {kernels[0]}, which the next boot takes")
    return ""


def back(apt: Apt, job: dict[str, Any]) -> None:
    """Puts the replaced version back, and starts what was stopped."""
    old = str(recorded(str(CHANGE)).get("from", ""))
    # Beside them lie the packages that came along with that version: those stay as new as they are.
    kept = sorted((KEPT / old).glob("*.deb")) if old else []
    files = [str(path) for path in kept if upstream(path.name.split("_")[1].replace("%3a", ":")) == old]
    if not files:
        stop(f"there is no way back: {KEPT / (old or 'OLD')} holds no packages; the new driver stays installed")
    for unit in job["units"]:
        ask("systemctl", "stop", unit)
    try:
        apt.install(*files, said=f"going back to {old}")
    except AptFailed as problem:
        stop(str(problem), f"driver {old} can't be put back from {KEPT / old}: mend the cause and install it by hand")
    problem_now = _built(old)
    hold(apt, job)
    if problem_now:
        stop(f"driver {old} was put back, and {problem_now}")
    CHANGE.unlink(missing_ok=True)
    if job["units"] and loaded() == old:
        ask("systemctl", "start", "--no-block", *job["units"])
    tell(f"driver {old} is installed again")


def load(apt: Apt, job: dict[str, Any]) -> None:
    """Unloads another version only where nothing uses it: the kernel refuses otherwise."""
    module = module_of(text("/proc/sys/kernel/osrelease").strip())
    swap = bool(loaded() and loaded() != module.get("version") and job["units"])
    if swap:
        ask("systemctl", "stop", "nvidia-persistenced.service")
        ask("modprobe", "-r", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia")
    for name in ("nvidia", "nvidia-uvm"):
        done = subprocess.run(["modprobe", name], capture_output=True, text=True, check=False)
        if done.returncode and name == "nvidia":
            tell(f"modprobe nvidia: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    if swap:
        # Stopping the daemon took the power limit along.
        for unit in ("nvidia-persistenced.service", "tandem-power-limit.service"):
            ask("systemctl", "start", "--no-block", unit)
    tell(f"the loaded module is {loaded() or 'none'}")


def hold(apt: Apt, job: dict[str, Any]) -> None:
    """The names come from what is installed: a hold on a name that is not installed holds nothing and says so not."""
    names = to_hold(packages()[0])
    if not job.get("managed", True):
        # The driver is the operator's, and so are the kernels.
        names = [name for name in names if "container" in name]
    if not names:
        return
    ask("apt-mark", "hold", *names)
    free = sorted(set(names) - set(ask("apt-mark", "showhold").split()))
    if free:
        stop(f"apt-mark hold does not hold {', '.join(free)}: an upgrade could pull driver and kernel apart")
    tell(f"held {len(names)} packages: driver, toolkit and the kernel's metapackages move only with Tandem")


def alone() -> None:
    """One job at a time, until this process ends. One whose operator is gone runs to its end: it is waited for."""
    os.makedirs(os.path.dirname(LOCK), mode=0o755, exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - began
            if waited > OTHER_JOB_SECONDS:
                stop(f"another driver job has run on this host for {waited:.0f} s: wait until it ends, then run again")
            tell(f"another driver job still runs on this host, its operator may be gone: waiting for {waited:.0f} s")
            time.sleep(LOOK_EVERY_SECONDS)


def main() -> None:
    job = json.loads(sys.argv[1])
    Path(KEPT).mkdir(mode=0o755, parents=True, exist_ok=True)
    alone()
    apt = Apt(job["timeout_seconds"], job["apt_options"])
    {"trial": trial, "install": install, "load": load, "hold": hold, "back": back}[job["phase"]](apt, job)


if __name__ == "__main__":
    main()
