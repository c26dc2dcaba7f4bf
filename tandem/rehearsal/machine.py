"""One running rehearsal host: its systemd-nspawn command, its disk, and the keeper that runs it.

The keeper (`python -m tandem.rehearsal.machine STATE NAME`) outlives the program that started it. It runs
systemd-nspawn again when the host reboots itself, and takes disk, interface and gateway down when the host is off.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from tandem.rehearsal import cgroup, network
from tandem.rehearsal.shell import (
    RehearsalError,
    arguments_of,
    processes,
    remove_tree,
    rooted_in,
    run,
    send,
    wait_until,
)

REBOOTED = 133  # systemd-nspawn's exit status when its machine asked for a reboot and --keep-unit was given
DISK_BYTES = 8 * 1024**3
NSPAWN_RUN = Path("/run/systemd/nspawn")
SHARED = ("images", "models", "apt", "apt-broken")  # folders of the state, seen read-only at /opt/rehearsal inside


def folder(state: Path, name: str) -> Path:
    return state / "hosts" / name


def nspawn_command(
    root: Path, interface: str, disk: str, shared: Mapping[str, Path], *, init_is_systemd: bool, has_fuse: bool
) -> list[str]:
    """The machine: all capabilities a real host has, except those that reach the build machine's clock and kernel."""
    command = [
        "systemd-nspawn",
        f"--directory={root}",
        f"--machine={interface}",
        "--boot",
        "--register=no",
        "--private-network",
        f"--network-veth-extra={interface}:host0",
        "--capability=all",
        "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
        # crun needs the kernel's key rings, systemd its address filters.
        "--system-call-filter=add_key keyctl bpf",
        "--console=read-only",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        f"--bind={disk}:/dev/nvme1n1",
        *(f"--bind-ro={source}:/opt/rehearsal/{name}" for name, source in shared.items()),
    ]
    # Without systemd there is no scope to allocate. With it, nspawn asks for one of its own.
    command += [] if init_is_systemd else ["--keep-unit"]
    return command + (["--bind=/dev/fuse"] if has_fuse else [])


def is_machine(state: Path, name: str) -> Callable[[list[str]], bool]:
    """Whether a command line is the systemd-nspawn of this host."""
    directory = f"--directory={folder(state, name) / 'root'}"
    return lambda arguments: bool(arguments) and arguments[0] == "systemd-nspawn" and directory in arguments


def is_keeper(state: Path, name: str) -> Callable[[list[str]], bool]:
    """Whether a command line is the keeper of this host."""
    return lambda arguments: arguments[-4:] == ["-m", "tandem.rehearsal.machine", str(state), name]


def running(state: Path, name: str) -> bool:
    """Whether anything of this host runs: machine, keeper, or processes inside that outlived a killed machine."""
    root = folder(state, name) / "root"
    return bool(processes(is_machine(state, name)) or processes(is_keeper(state, name)) or rooted_in(root))


def running_names(state: Path) -> set[str]:
    """Hosts of this state folder with a machine or a keeper, whether or not their folder still exists."""
    prefix, keeper = f"--directory={state / 'hosts'}/", ["-m", "tandem.rehearsal.machine", str(state)]
    lines = [arguments_of(pid) for pid in processes(lambda arguments: True)]
    found = {Path(argument).parent.name for line in lines for argument in line if argument.startswith(prefix)}
    return found | {line[-1] for line in lines if line[-4:-1] == keeper}


def kept(state: Path, name: str) -> bool:
    """Whether both run, as they should."""
    return bool(processes(is_machine(state, name)) and processes(is_keeper(state, name)))


def attach_disk(image: Path) -> str:
    """The loop device of a disk image, attached if it is not; made sparse and empty if there is none."""
    if not image.exists():
        with image.open("wb") as handle:
            handle.truncate(DISK_BYTES)
    attached = run(["losetup", "--noheadings", "--output=NAME", "--associated", str(image)]).split()
    return attached[0] if attached else run(["losetup", "--find", "--show", str(image)]).strip()


def detach_disks(under: Path) -> None:
    """Detaches the loop devices of every image under a folder, deleted ones included."""
    listed = json.loads(run(["losetup", "--list", "--json", "--output=NAME,BACK-FILE"]) or '{"loopdevices": []}')
    for device in listed["loopdevices"]:
        if (device.get("back-file") or "").startswith(f"{under}/"):
            run(["losetup", "--detach", device["name"]], check=False)


def start_keeper(state: Path, name: str) -> None:
    """Starts the keeper on its own: it survives this program, its terminal and its session."""
    command = [sys.executable, "-m", "tandem.rehearsal.machine", str(state), name]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    console = folder(state, name) / "console.log"
    if _init_is_systemd():
        # A unit of its own: a session's end would otherwise take the host along.
        unit = f"tandem-rehearsal-{network.interface_name(state, name)}"
        settings = [f"--setenv={key}={environment[key]}" for key in ("PYTHONPATH", "PATH") if key in environment]
        output = [f"--property=Standard{stream}=truncate:{console}" for stream in ("Output", "Error")]
        run(["systemd-run", f"--unit={unit}", "--collect", "--quiet", *settings, *output, *command])
        return
    with console.open("wb") as log:
        fork = ["setsid", "--fork", *command]
        subprocess.run(fork, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=True)


def stop(state: Path, name: str, grace_seconds: float) -> None:
    """Orderly shutdown, killed after `grace_seconds`; takes down what the host used, whoever left it."""
    _send_all(is_machine(state, name), signal.SIGTERM)
    if wait_until(lambda: not processes(is_machine(state, name)), grace_seconds):
        wait_until(lambda: not processes(is_keeper(state, name)), seconds=10)
    kill(state, name)


def kill(state: Path, name: str) -> None:
    """What pulling the plug does: every process of the host is gone at once, nothing is asked."""
    root = folder(state, name) / "root"
    _send_all(is_keeper(state, name), signal.SIGKILL)
    _send_all(is_machine(state, name), signal.SIGKILL)
    _end_inside(state, name)
    if not wait_until(lambda: not running(state, name), seconds=15):
        raise RehearsalError(f"host {name} does not die: see `ps` for systemd-nspawn --directory={root}")
    release(state, name)


def _end_inside(state: Path, name: str) -> None:
    """Ends what runs inside: the death of systemd-nspawn alone does not."""
    root = folder(state, name) / "root"
    cgroup.kill(network.interface_name(state, name))
    for pid in rooted_in(root):
        send(pid, signal.SIGKILL, lambda one: one in rooted_in(root))
    wait_until(lambda: not rooted_in(root), seconds=10)


def _send_all(matches: Callable[[list[str]], bool], number: signal.Signals) -> None:
    for pid in processes(matches):
        send(pid, number, lambda one: matches(arguments_of(one)))


def release(state: Path, name: str) -> None:
    """Takes down what a host that is off used of the build machine. Safe to repeat."""
    root, interface = folder(state, name) / "root", network.interface_name(state, name)
    network.remove_interface(interface)
    cgroup.remove(interface)
    detach_disks(folder(state, name))
    # systemd-nspawn leaves these behind when it is killed, and some also where /run is not a tmpfs.
    exported = NSPAWN_RUN / "unix-export" / interface
    if exported.is_mount():
        run(["umount", "--lazy", str(exported)], check=False)
    for left in (exported, NSPAWN_RUN / "propagate" / interface):
        remove_tree(left)
    if root.exists():
        lock = f"inode-{root.stat().st_dev}:{root.stat().st_ino}"
        (NSPAWN_RUN / "locks" / lock).unlink(missing_ok=True)
    network.close_gateway()


def keep(state: Path, name: str) -> int:
    """The keeper: runs the machine until it is off. Its exit status is the machine's."""
    here = folder(state, name)
    interface = network.interface_name(state, name)
    status = REBOOTED
    try:
        # What an earlier run left that was killed together with its keeper.
        _end_inside(state, name)
        release(state, name)
        while status == REBOOTED:
            network.remove_interface(interface)
            network.open_gateway()
            disk = attach_disk(here / "nvme.img")
            shared = {part: state / part for part in SHARED if (state / part).is_dir()}
            command = nspawn_command(
                here / "root", interface, disk, shared,
                init_is_systemd=_init_is_systemd(), has_fuse=Path("/dev/fuse").exists(),
            )  # fmt: skip
            status = _run_machine(command, here, interface)
    finally:
        _end_inside(state, name)
        release(state, name)
    return status


def _run_machine(command: list[str], here: Path, interface: str) -> int:
    """One run of systemd-nspawn; gives its interface addresses each time that it appears."""
    net = IPv4Network(json.loads((here / "host.json").read_text())["network"])
    mtu_bytes = network.uplink_mtu_bytes()
    enter = None if _init_is_systemd() else functools.partial(cgroup.enter, interface)
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    machine = subprocess.Popen(command, env=environment, preexec_fn=enter)
    signal.signal(signal.SIGTERM, lambda *_: machine.terminate())
    addressed, interval_seconds = "", 0.02
    while machine.poll() is None:
        index = network.interface_index(interface)
        if index and index != addressed:
            # It may be gone again by now; the next look tells.
            with contextlib.suppress(RehearsalError):
                network.address_interface(interface, net, mtu_bytes)
                addressed, interval_seconds = index, 0.5
        time.sleep(interval_seconds)
    return machine.returncode


def _init_is_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), sys.argv[2]))
