"""A control group for each rehearsal host on a build machine whose own init is not systemd.

There, every systemd-nspawn would otherwise put its machine into one and the same group, and the systemds inside would
count each other's processes as their own (seen: a service of one host never stops while another host runs).
"""

import contextlib
from pathlib import Path

from tandem.rehearsal.shell import wait_until

ROOTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
MIRROR = Path("/sys/fs/cgroup/systemd")  # cgroup v1, where systemd-nspawn repeats the groups that it makes


def group(interface: str) -> Path | None:
    """The control group of the host with that interface; None where no cgroup v2 is mounted."""
    root = next((root for root in ROOTS if (root / "cgroup.procs").exists()), None)
    return root / interface if root else None


def enter(interface: str) -> None:
    """Moves the calling process into the host's group."""
    mine = group(interface)
    if mine:
        mine.mkdir(exist_ok=True)
        # 0 means the writer.
        (mine / "cgroup.procs").write_text("0")


def kill(interface: str) -> None:
    """Kills whatever is left in the host's group: the only way to a machine whose root folder was removed under it."""
    mine = group(interface)
    if mine:
        # Kernels before 5.14 have no such file.
        with contextlib.suppress(OSError):
            (mine / "cgroup.kill").write_text("1")


def remove(interface: str) -> None:
    """Removes the group of a host that is off, with the groups that its systemd made in it."""
    # The kernel takes a moment to take the last process of a group away.
    wait_until(lambda: not any(_remove(root / interface) for root in (*ROOTS, MIRROR)), seconds=5)


def _remove(path: Path) -> bool:
    """Removes a group with those in it; whether it is still there."""
    for inner in sorted(path.glob("**/"), key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()
    return path.is_dir()
