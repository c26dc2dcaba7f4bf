"""What has to be done about driver, holds and container access on one host, or why nothing may be done. Pure.

``seen`` is everywhere what ``tandem.hostside.gpu_state`` answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.domain.gpu_packages import TOOLKIT, Packages, of_branch, packages_of, to_hold, upstream

SECURE_BOOT: Final = (
    "Secure Boot is on and the key that DKMS signs modules with is not enrolled: the kernel would refuse the driver; "
    "nothing was changed: `apt install dkms mokutil && dkms generate_mok && mokutil --import /var/lib/dkms/mok.pub`, "
    "reboot, confirm at the console and run again, or turn Secure Boot off"
)


@dataclass(frozen=True)
class Wanted:
    """What the inventory says. ``version``: exactly this upstream version; "" for none named."""

    source: str
    branch: str
    version: str
    toolkit: bool
    cuda_toolkit: bool
    allow_reboot: bool
    allow_outage: bool


@dataclass
class Work:
    """What to do, in this order; nothing at all when ``refusal`` says why not.

    ``names``: the packages by role, None for an unknown system. ``packages``: those that are missing. ``extra``: wanted
    besides the driver. ``trial``: build the module beside everything first. ``version``: the upstream version to
    install, "" for apt's candidate of the branch. ``change``: (old, new) when an installed driver is replaced.
    ``load``: a module is not loaded or is another one. ``regenerate``: the CDI specification is of another driver.
    """

    names: Packages | None = None
    packages: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    trial: bool = False
    version: str = ""
    change: tuple[str, str] | None = None
    hold: list[str] = field(default_factory=list)
    load: bool = False
    regenerate: bool = False
    refusal: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def install(self) -> bool:
        return self.trial or bool(self.packages)

    @property
    def empty(self) -> bool:
        return not (self.install or self.hold or self.load or self.regenerate)


def decide(wanted: Wanted, seen: Mapping[str, Any], serving: bool, cards: Sequence[int]) -> Work:
    """The work on a host; ``serving``: it has a recorded release that answers."""
    work = Work(regenerate=wanted.toolkit and cdi_is_stale(seen, cards), remarks=cdi_conflicts(seen, wanted.toolkit))
    system = (seen["os"]["id"], seen["os"]["version"])
    names = packages_of(system, "nvidia" if wanted.source == "none" else wanted.source, wanted.branch)
    if names is None:
        work.refusal = (
            f"Tandem knows no driver packages for {' '.join(system)}; nothing was changed: install the driver by hand "
            "and set gpu/driver_source to none"
        )
        return work
    work.names = names
    _packages(work, wanted, names, seen)
    if wanted.source == "none":
        return work
    if not seen["cards"]:
        work.refusal = (
            "no NVIDIA card is on the PCI bus; nothing was changed: check that the cards are seated and powered "
            "(lspci -d 10de:), or set gpu/driver_source to none"
        )
        return work
    _driver(work, wanted, names, seen)
    if work.trial and seen["secure_boot"] and not seen["key_enrolled"]:
        work.refusal = SECURE_BOOT
    work.hold = [] if work.install else [name for name in to_hold(seen["packages"]) if name not in seen["held"]]
    work.load = work.trial or not loaded_as_installed(names, seen)
    if serving:
        work.refusal = work.refusal or _outage(work, wanted, names, seen)
    return work


def _packages(work: Work, wanted: Wanted, names: Packages, seen: Mapping[str, Any]) -> None:
    driver = [*names.libraries, *names.beside, names.module] if wanted.source != "none" else []
    work.extra = [TOOLKIT] if wanted.toolkit else []
    work.extra += [names.cuda] if wanted.cuda_toolkit and names.cuda else []
    if wanted.cuda_toolkit and not names.cuda:
        work.refusal = (
            f"Tandem knows no CUDA toolkit for driver branch {wanted.branch}; nothing was changed: set "
            "gpu/cuda_toolkit to False (serving does not need it)"
        )
    work.packages = [name for name in [*driver, *work.extra] if name not in seen["packages"]]


def _driver(work: Work, wanted: Wanted, names: Packages, seen: Mapping[str, Any]) -> None:
    """A driver that is installed and of the right branch stays at its version unless another one is asked for."""
    have = installed_module(names, seen)
    target = wanted.version or (have if have and of_branch(have, wanted.branch) else "")
    missing_driver = any(name in work.packages for name in (names.module, *names.libraries))
    work.version = target
    unbuilt = have and seen["modules"].get(seen["next_kernel"], {}).get("version") != have
    work.trial = missing_driver or have != target or not have or bool(unbuilt)
    # Loaded without our package: of another origin (another package's name, NVIDIA's own installer).
    old = have or seen["loaded"]
    if old and (not have or have != target):
        work.change = (old, target or f"the newest of branch {wanted.branch}")


def _outage(work: Work, wanted: Wanted, names: Packages, seen: Mapping[str, Any]) -> str:
    """Why a host that serves is left alone; "" when nothing of it has to stop."""
    have, loaded = installed_module(names, seen), seen["loaded"]
    if wanted.allow_outage:
        return ""
    ask = (
        "this host serves, so nothing was changed: set gpu/allow_outage to True for planned maintenance. Then the "
        "engines drain and stop, the driver is replaced, the host reboots if it must, and they start again"
    )
    if work.change:
        return f"the driver would change from {work.change[0]} to {work.change[1]}, and {ask}"
    if loaded != have and have:
        return f"the loaded driver is {loaded or 'none'} and {have} is installed: a reboot is due, and {ask}"
    return ""


def loaded_as_installed(names: Packages, seen: Mapping[str, Any]) -> bool:
    return bool(seen["loaded"]) and seen["loaded"] == installed_module(names, seen)


def installed_module(names: Packages, seen: Mapping[str, Any]) -> str:
    """The upstream version of the installed module package; "" for none."""
    return upstream(seen["packages"].get(names.module, ""))


def cdi_is_stale(seen: Mapping[str, Any], cards: Sequence[int]) -> bool:
    """There is a specification, and it is of another driver, of other cards, or was changed since it was made."""
    made = seen["cdi_made"]
    if not made:
        return False  # the unit has not made one yet: starting it does
    wrong_cards = not set(map(str, cards)) <= set(made.get("cards", []))
    return bool(made["driver"] != seen["loaded"] or made["sha256"] != seen["cdi_sha256"] or wrong_cards)


def cdi_conflicts(seen: Mapping[str, Any], ours: bool) -> list[str]:
    if not ours:
        return []
    return [
        f"{path} also describes nvidia.com/gpu; /run/cdi/nvidia.yaml, which Tandem makes, takes precedence: remove it"
        for path in seen["cdi_others"]
    ]


def drift(seen: Mapping[str, Any], managed: bool) -> list[str]:
    """What will break at the next container start or the next boot, one sentence each; [] when all agrees.

    ``managed``: Tandem installed the driver, so its packages and the kernel's have to be held.
    """
    loaded, library, modules = seen["loaded"], seen["library"], seen["modules"]
    sentences = []
    if not loaded and not library:
        return []
    if not loaded:
        sentences.append(f"the NVIDIA module is not loaded, but the driver {library} is installed: reboot this host")
    elif library and loaded != library:
        sentences.append(
            f"the loaded NVIDIA module is {loaded} and the installed library is {library}: what runs goes on, but no "
            f"new process can use a card. Reboot this host, or install {loaded} again"
        )
    next_kernel = seen["next_kernel"]
    if any(modules.values()) and next_kernel and not modules.get(next_kernel):
        sentences.append(
            f"the next boot takes kernel {next_kernel}, which has no NVIDIA module: run install before a reboot"
        )
    if lost := seen["cdi_made"].get("missing"):
        sentences.append(
            f"card {', '.join(lost)} was not there when containers' access was set up, so its engine can't start: "
            "`nvidia-smi` and `journalctl -k` say why; when it is back: systemctl reload tandem-cdi"
        )
    free = [name for name in to_hold(seen["packages"]) if name not in seen["held"]] if managed else []
    if free:
        sentences.append(f"{', '.join(free)} can be moved by an upgrade (apt-mark hold is gone): run install")
    return sentences
