"""Driver, holds, CDI, and the proof that CUDA works in a container."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from pyinfra import host, state
from pyinfra.api import OperationError, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from tandem import journal
from tandem.commands import host_program, systemctl
from tandem.domain.gpu import Wanted, Work, cdi_is_stale, decide, loaded_as_installed
from tandem.domain.gpu_packages import Packages
from tandem.facts.gpu import CudaProof, GpuState
from tandem.operations.live import LiveCommand
from tandem.operations.stopping import stop
from tandem.reboot import reboot
from tandem.render.gpu import CDI_UNIT

GUARD: Final = "tandem-guard.service"
Commands: TypeAlias = Generator[PyinfraCommand, None, None]
"""A reboot is more than a shell command."""


@operation()
def driver(wanted: Wanted, apt: Mapping[str, Any], cards: Sequence[int], engines: Sequence[str]) -> Commands:
    """Installs what is missing of driver and toolkit, holds it, loads it; reboots where that is needed and allowed.

    + apt: {"timeout_seconds", "apt_options"}
    + engines: the units that serve now; () while nothing serves
    """
    seen = host.get_fact(GpuState)
    work = decide(wanted, seen, bool(engines), cards)
    if work.refusal or work.names is None:
        raise OperationError(work.refusal)
    if work.empty:
        host.noop(f"driver {seen['loaded'] or 'none'}, its packages, holds and CDI are as wanted")
        return
    stopped = list(engines) if work.change else []
    # The guard first: it starts engines that do not run. It comes back at the end of install, or with the boot.
    quiet = [GUARD, *stopped] if stopped else []
    job = {**_job(wanted, work, work.names), **apt, "units": quiet, "may_change_kernel": not engines}
    if work.install:
        yield from _install(work, job, stopped)
    elif work.hold:
        journal.note(host, f"held {', '.join(work.hold)}")
        yield _phase("hold", job)
    if work.load:
        yield from _load(wanted, work.names, job, seen["boot_id"], bool(engines))
        seen = host.get_fact(GpuState)
    if cdi_is_stale(seen, cards):
        journal.note(host, "made the CDI specification of this driver")
        yield systemctl("daemon-reload")
        yield systemctl("reload-or-restart", CDI_UNIT)
    if stopped:
        # The rest of the run may take long, or fail: what serves does not wait for it.
        yield systemctl("start --no-block", *stopped)


def _job(wanted: Wanted, work: Work, names: Packages) -> dict[str, Any]:
    return {
        "module": names.module if work.trial else "",
        "libraries": names.libraries,
        "beside": names.beside,
        "pinning": names.pinning,
        "extra": work.extra,
        "managed": wanted.source != "none",
        "branch": wanted.branch,
        "version": work.version,
    }


def _install(work: Work, job: dict[str, Any], stopped: Sequence[str]) -> Commands:
    yield _phase("trial", job)
    if stopped:
        journal.note(host, f"drained and stopped {', '.join(stopped)} to change the driver")
    if work.change:
        journal.note(host, f"changed the driver from {work.change[0]} to {work.change[1]}")
    elif work.trial:
        journal.note(host, "built the driver's module for the kernel of the next boot")
    if work.packages:
        journal.note(host, f"installed {', '.join(work.packages)}")
    yield _phase("install", job)


def _load(wanted: Wanted, names: Packages, job: dict[str, Any], boot_id: str, serving: bool) -> Commands:
    """The module without a reboot where that does; else one reboot, if it is allowed."""
    yield _phase("load", job)
    if not state.is_executing:
        journal.note(host, "reboots once if the module can't be loaded otherwise")
        return
    seen = host.get_fact(GpuState)
    if loaded_as_installed(names, seen):
        return
    if not (wanted.allow_outage if serving else wanted.allow_reboot):
        option = "gpu/allow_outage" if serving else "gpu/allow_reboot"
        yield stop(
            f"the driver is installed and held, and a reboot must load it ({option} is False): reboot {host.name} by "
            "hand or set that option to True, then run the same command again; it goes on from here"
        )
        return
    journal.note(host, "rebooted once to load the driver")
    yield from reboot(boot_id)
    # SSH may answer while the module is still being loaded: modprobe waits for that.
    yield _phase("load", {**job, "units": []})
    seen = host.get_fact(GpuState)
    if not loaded_as_installed(names, seen):
        yield stop(
            f"{host.name} rebooted and its NVIDIA module is {seen['loaded'] or 'not loaded'}: `journalctl -k -b` there "
            "says why (NVRM); the driver stays installed and held"
        )


def _phase(name: str, job: Mapping[str, Any]) -> LiveCommand:
    return LiveCommand(host_program("install_driver", {**job, "phase": name}))


@operation()
def cuda(job: Mapping[str, Any], apt: Mapping[str, Any], engines: Sequence[str]) -> Commands:
    """Proves that cuInit and cuDeviceGetCount work in the engine's image, confined as the engine is.

    Once for each driver, image and CDI specification. A changed driver that fails is replaced by the one before.

    + job: {"image", "cards", "environment"}
    + apt: {"timeout_seconds", "apt_options"}
    + engines: the units that serve; started again after a way back
    """
    asked = dict(job)
    seen = host.get_fact(CudaProof, question=asked)
    if seen["proven"]:
        host.noop(f"CUDA is proven in the engine's container with driver {seen['driver']}")
        return
    journal.note(host, "tried CUDA in the engine's container")
    if not seen["change"]:
        yield LiveCommand(host_program("smoke_cuda", asked))
        return
    yield LiveCommand(StringCommand(host_program("smoke_cuda", asked), "|| true"))
    if not state.is_executing or host.get_fact(CudaProof, question=asked)["proven"]:
        return
    old, new = seen["change"]["from"], seen["change"]["to"]
    journal.note(host, f"went back from driver {new} to {old}")
    back = {**apt, "units": [GUARD, *engines]}
    yield _phase("back", back)
    yield _phase("load", back)
    if host.get_fact(CudaProof, question=asked)["driver"] == old:
        yield systemctl("reload-or-restart", CDI_UNIT)
        if engines:
            yield systemctl("start --no-block", *engines, GUARD)
    else:
        yield from reboot(seen["boot_id"])
    yield stop(
        f"driver {new} did not pass the CUDA test, see above; {old} was put back and the engines run with it: set "
        f"gpu/driver_version to {old} or to another one"
    )
