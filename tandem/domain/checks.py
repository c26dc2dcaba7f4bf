"""What the checks of a host are made of: what is asked of it, and one row of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One row: what was found, what is needed, what to do. A fail refuses the host.

    ``found`` is a clause that can stand in a sentence; ``needed`` is a noun ("60 GiB") or "".
    """

    name: str
    level: Level
    found: str
    needed: str = ""
    advice: str = ""

    @property
    def sentence(self) -> str:
        """``memory is 15.6 GiB; 60 GiB is needed: add memory``."""
        needed = f"; {self.needed} is needed" if self.needed else ""
        return f"{self.found}{needed}" + (f": {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class CardNeeds:
    """What the inventory asks of cards and driver. Sizes are in MiB."""

    cards: tuple[int, ...] = (0, 1)
    driver_source: str = "nvidia"
    driver_branch: str = "580"
    cuda: str = "13.0"
    container_toolkit: bool = True
    memory_mib: int = 22000
    foreign_memory_mib: int = 1024
    link_generation: int = 4
    link_width: int = 8
    power_limit_watts: Mapping[int, int] = field(default_factory=dict)

    @property
    def installs(self) -> bool:
        """Install brings the driver: its absence is no fault."""
        return self.driver_source != "none"


@dataclass(frozen=True)
class Needs:
    """What the inventory asks of a host. ``ports`` says what each port is for.

    ``disk_gib`` is for a fresh host; one that has been installed has used it, and keeps LEAST_DISK_GIB.
    ``sources`` (addresses) and ``folders`` (on the host) are by kind: packages, driver, images, weights.
    """

    memory_gib: int = 60
    disk_gib: int = 60
    ports: Mapping[int, str] = field(default_factory=dict)
    accept_untested_os: bool = False
    advised_memory_gib: int = 64
    advised_processors: int = 8
    disk_wear_percent: int = 90
    disk_folders: tuple[str, ...] = ("/",)
    weights_directory: str = "/srv/weights"
    weights_bytes: int = 0
    weights_device: str = ""
    bundle: str = ""
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cards: CardNeeds = field(default_factory=CardNeeds)


def ok(name: str, found: str, needed: str = "") -> Check:
    return Check(name, "ok", found, needed)


def warn(name: str, found: str, advice: str, needed: str = "") -> Check:
    return Check(name, "warn", found, needed, advice)


def fail(name: str, found: str, advice: str, needed: str = "") -> Check:
    return Check(name, "fail", found, needed, advice)


def several(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(names: list[str], most: int = 4) -> str:
    """The first names, and how many there are besides."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
