"""Cards as nvidia-smi and the PCI bus tell of them. Pure."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FIELDS: Final = (
    "index",
    "name",
    "uuid",
    "pci.bus_id",
    "pci.device_id",
    "memory.total",
    "memory.used",
    "driver_version",
    "pstate",
    "pcie.link.gen.current",
    "pcie.link.gen.max",
    "pcie.link.width.current",
    "pcie.link.width.max",
    "persistence_mode",
    "ecc.mode.current",
    "ecc.errors.uncorrected.volatile.total",
    "power.limit",
    "power.min_limit",
    "power.max_limit",
)
"""Asked of every driver since 525: nvidia-smi refuses a whole query for one field that it does not know."""

APP_FIELDS: Final = ("gpu_uuid", "pid", "process_name", "used_memory")

_GENERATIONS: Final = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""PCI Express generation by GT/s and lane."""

_MODELS: Final = {"0x2684": "RTX 4090", "0x2685": "RTX 4090 D"}
_MEMORY_MIB: Final = {"0x2684": 24564, "0x2685": 24564}
"""As nvidia-smi shows it."""


@dataclass(frozen=True)
class Card:
    """One card. None: the card or the driver does not say. Memory in MiB, power in watts."""

    index: int
    name: str
    uuid: str
    bus_id: str
    driver: str
    memory_mib: int | None = None
    used_mib: int | None = None
    idle: bool = False
    link_generation: int | None = None
    link_generation_most: int | None = None
    link_width: int | None = None
    link_width_most: int | None = None
    persistence: bool | None = None
    ecc: bool | None = None
    ecc_errors: int | None = None
    power_limit: float | None = None
    power_least: float | None = None
    power_most: float | None = None


def read_csv(text: str) -> list[dict[str, str]]:
    """Rows of ``nvidia-smi --query-...=... --format=csv``, by field name without unit; the first line names them."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    names = [re.sub(r" \[.*\]$", "", name) for name in next(csv.reader(lines[:1], skipinitialspace=True))]
    rows = [row for row in csv.reader(lines[1:], skipinitialspace=True) if len(row) == len(names)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_cards(text: str) -> list[Card]:
    """The cards of a ``--query-gpu=FIELDS`` answer. A row that is no card's (a message) is left out."""
    return [_card(row) for row in read_csv(text) if row.get("index", "").isdigit() and row.get("pci.bus_id")]


def _card(row: Mapping[str, str]) -> Card:
    return Card(
        index=int(row["index"]),
        name=row.get("name", ""),
        uuid=row.get("uuid", ""),
        bus_id=short_address(row["pci.bus_id"]),
        driver=row.get("driver_version", ""),
        memory_mib=_whole(row, "memory.total"),
        used_mib=_whole(row, "memory.used"),
        # P0 and P1 are what a working card is in; an idle one (P8) drops its link to the first generation.
        idle=row.get("pstate", "") not in ("P0", "P1", "P2"),
        link_generation=_whole(row, "pcie.link.gen.current"),
        link_generation_most=_whole(row, "pcie.link.gen.max"),
        link_width=_whole(row, "pcie.link.width.current"),
        link_width_most=_whole(row, "pcie.link.width.max"),
        persistence=_switch(row, "persistence_mode"),
        ecc=_switch(row, "ecc.mode.current"),
        ecc_errors=_whole(row, "ecc.errors.uncorrected.volatile.total"),
        power_limit=_number(row, "power.limit"),
        power_least=_number(row, "power.min_limit"),
        power_most=_number(row, "power.max_limit"),
    )


def lost(card: Card) -> bool:
    """The driver shows a row for a card that no longer answers."""
    return bool(re.search(r"lost|unknown error", f"{card.name} {card.uuid}", re.IGNORECASE)) or card.memory_mib is None


def read_bus(device: Mapping[str, Any], index: int) -> Card:
    """A card that only the PCI bus knows: no driver is loaded."""
    code = str(device["device"])
    return Card(
        index=index,
        name=f"NVIDIA {_MODELS.get(code, 'card')} (10de:{code.removeprefix('0x')})",
        uuid="",
        bus_id=short_address(str(device["address"])),
        driver="",
        idle=True,
        link_generation=generation(str(device.get("speed", ""))),
        link_generation_most=generation(str(device.get("most_speed", ""))),
        link_width=_lanes(str(device.get("width", ""))),
        link_width_most=_lanes(str(device.get("most_width", ""))),
    )


def memory_mib(bus: Sequence[Mapping[str, Any]], smi_text: str, wanted: Sequence[int]) -> list[int]:
    """The memory of the wanted cards: the driver's word, else what cards of that model have; [] when not known."""
    by_driver = {card.index: card.memory_mib for card in read_cards(smi_text)}
    by_bus = {index: _MEMORY_MIB.get(str(device["device"])) for index, device in enumerate(bus)}
    sizes = [by_driver.get(index) or by_bus.get(index) for index in wanted]
    return [size for size in sizes if size] if all(sizes) else []


def generation(speed: str) -> int | None:
    """4 of ``16.0 GT/s PCIe``."""
    return _GENERATIONS.get(speed.split(" ")[0])


def short_address(address: str) -> str:
    """``0000:01:00.0`` of ``00000000:01:00.0``, as the kernel writes it."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _lanes(text: str) -> int | None:
    # A device that is off the bus answers 255 or 0.
    return int(text) if text.isdigit() and int(text) in range(1, 33) else None


def _number(row: Mapping[str, str], name: str) -> float | None:
    found = re.match(r"\d+(\.\d+)?", row.get(name, ""))
    return float(found.group()) if found else None


def _whole(row: Mapping[str, str], name: str) -> int | None:
    number = _number(row, name)
    return None if number is None else int(number)


def _switch(row: Mapping[str, str], name: str) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(row.get(name, ""))
