"""Debian's own driver packages on a rehearsal host: a real compilation that fails, and one that succeeds. Many minutes.

Both are the same package. Kernels changed one of the functions that it calls, so it builds for the oldest kernel of the
archive and not for the newest one, which the host starts with.
"""

import re
import time
from collections.abc import Iterator

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tandem.rehearsal.nvidia_packages import STANDINS
from tests.campaign.report import Case
from tests.faults.cards import CARDS, DRIVER, installed, make
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost

STEPS = "tests/faults/deploys/driver.py"
CUDA = "12.4"  # the newest that this driver's branch has
BRANCH = "550"
PACKAGE = "nvidia-open-kernel-dkms"
OLDEST = "apt-cache pkgnames linux-headers-6.12 | grep -- '-cloud-amd64$' | sort -V | head -n 1"
LIMIT_SECONDS = 3000
PLAYED = {"nvidia-persistenced": "/usr/bin/nvidia-persistenced", "nvidia-smi": "/usr/lib/nvidia/current/nvidia-smi"}


def driver(workplace: Workplace, _seeds: list[int], only: str) -> Iterator[Case]:
    """The stop first; then, on the same host, the oldest kernel with the same driver."""
    there = make()
    try:
        for name, case in (("a driver that does not build", _stops), ("a driver that builds", _builds)):
            if only in name:
                began = time.monotonic()
                wrong = case(workplace, there)
                yield Case(f"{PACKAGE}: {name}", time.monotonic() - began, wrong)
    finally:
        host.remove(STATE, CARDS)


def _stops(workplace: Workplace, there: OnHost) -> list[str]:
    ended = _run(workplace)
    said = " ".join(ended.output.split())
    wrong = [] if ended.status else ["exit status 0"]
    if not re.search(r"nv-pci\.c:\d+(:\d+)?: error: too few arguments to function .pci_resize_resource", said):
        wrong += ["the first compiler error was not shown", ended.output]
    if found := installed(there, *DRIVER):
        wrong.append(f"was installed: {', '.join(found)}")
    if "Nothing of the driver was installed or changed" not in said:
        wrong.append("did not say that nothing was changed")
    return wrong


def _builds(workplace: Workplace, there: OnHost) -> list[str]:
    there.shell("apt-get -qq update")
    kernel = there.shell(OLDEST).strip().removeprefix("linux-headers-")
    _boot_only(there, kernel)
    _play_what_speaks_with_the_module(there)
    host.reboot(STATE, CARDS)
    ended = _run(workplace)
    if ended.status:
        return [f"exit status {ended.status}", ended.output]
    loaded = there.shell("cat /proc/driver/nvidia/version")
    built_for = there.shell(f"modinfo -F vermagic /lib/modules/{kernel}/updates/dkms/nvidia*.ko* | head -n 1")
    again = _run(workplace)
    wrong = [] if f" {BRANCH}." in loaded and kernel in built_for else [f"loaded: {loaded}; built for {built_for}"]
    return wrong if (again.status, again.changed) == (0, []) else [*wrong, "second run", again.output]


def _boot_only(there: OnHost, kernel: str) -> None:
    """Leaves one kernel in /boot."""
    others = " ".join(name for name in installed(there, "linux-image-*", "linux-headers-*") if kernel not in name)
    there.shell(f"export DEBIAN_FRONTEND=noninteractive\napt-get -qq install -y linux-image-{kernel} >/dev/null")
    there.shell(f"export DEBIAN_FRONTEND=noninteractive\napt-get -qq purge -y {others} >/dev/null")


def _play_what_speaks_with_the_module(there: OnHost) -> None:
    """There is no card for the real programs to find; everything else that their packages bring stays real."""
    for name, path in PLAYED.items():
        source = (STANDINS / name).read_text()
        there.shell(f"dpkg-divert --local --rename --divert {path}.real --add {path} >/dev/null")
        there.shell(f"mkdir -p $(dirname {path})\ncat >{path} <<'STANDIN'\n{source}STANDIN\nchmod 0755 {path}")


def _run(workplace: Workplace) -> Ended:
    data = dict(hosts(STATE))[CARDS]
    gpu = {**data["gpu"], "driver_source": "distro", "driver_branch": BRANCH}
    releases = {name: {**release, "cuda": CUDA} for name, release in data["releases"].items()}
    running = workplace.start(workplace.inventory(CARDS, {"gpu": gpu, "releases": releases}), STEPS)
    return running.wait(LIMIT_SECONDS)
