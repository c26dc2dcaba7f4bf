"""Checks of each card, and of what containers see of them. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tandem.domain.cards import Card, lost, read_bus, read_cards, read_csv
from tandem.domain.checks import CardNeeds, Check, fail, ok, several, shown, warn
from tandem.domain.doctor_driver import driver, kernels

SERIOUS_XIDS: Final = {
    48: "double-bit memory error",
    62: "internal micro-controller halt",
    63: "memory row remapped",
    64: "memory row not remapped",
    79: "fell off the bus",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "GPU system processor timeout",
    120: "GPU system processor error",
}
"""Xid numbers that speak of the card and not of a program on it."""


def gpu(needs: CardNeeds, found: Mapping[str, Any]) -> Iterator[Check]:
    by_driver = [card for card in read_cards(found["smi"]["cards"]) if found["smi"]["status"] == 0]
    by_bus = [read_bus(device, index) for index, device in enumerate(found["bus"])]
    yield _count(needs, by_driver, by_bus)
    for card in by_driver or by_bus:
        if card.index in needs.cards or not by_driver:
            yield from (_named(card, check) for check in _card(needs, found, card, bool(by_driver)))
    yield _xid(found["xid"])
    yield from driver(needs, found, by_driver)
    yield from kernels(needs, found)
    yield from _containers(needs, found)


def _named(card: Card, check: Check) -> Check:
    """Its card's number before the name, and before what refuses."""
    text = check.found if check.level == "ok" else f"card {card.index}: {check.found}"
    return Check(f"card {card.index}: {check.name}", check.level, text, check.needed, check.advice)


def _count(needs: CardNeeds, by_driver: Sequence[Card], by_bus: Sequence[Card]) -> Check:
    wanted = f"{several(len(needs.cards), 'card')} (engine/cards {', '.join(map(str, needs.cards))})"
    seen = by_driver or by_bus
    absent = [number for number in needs.cards if number not in {card.index for card in seen}]
    if absent:
        where = "the driver shows" if by_driver else "the PCI bus has"
        text = f"{where} {several(len(seen), 'card')}; there is no card {', '.join(map(str, absent))}"
        advice = "look at its seating and power, or take it out of engine/cards"
        if len(by_bus) > len(by_driver) > 0:
            advice = f"the bus has {len(by_bus)}: reboot, then look at the kernel log (journalctl -k --grep NVRM)"
        return fail("cards", text, advice, wanted)
    models = sorted({card.name for card in seen})
    return ok("cards", f"{len(seen)}: {', '.join(models)}", wanted)


def _card(needs: CardNeeds, found: Mapping[str, Any], card: Card, driven: bool) -> Iterator[Check]:
    if driven and lost(card):
        yield fail("model", f"it is lost: {card.name} at {card.bus_id}", "reboot; then look at power and seating")
        return
    yield ok("model", f"{card.name} at {card.bus_id}")
    yield _link(needs, card)
    if driven:
        yield _memory(needs, card)
        yield _foreign(needs, found, card)
        yield _persistence(needs, card)
        yield _ecc(card)
    yield from _power(needs, card)


def _memory(needs: CardNeeds, card: Card) -> Check:
    needed = f"{needs.memory_mib} MiB"
    if (card.memory_mib or 0) < needs.memory_mib:
        advice = "the model and its cache need more (doctor/minimum_card_memory_mib)"
        return fail("memory", f"it has {card.memory_mib} MiB", advice, needed)
    return ok("memory", f"{card.memory_mib} MiB", needed)


def _foreign(needs: CardNeeds, found: Mapping[str, Any], card: Card) -> Check:
    """Memory that programs other than the engines hold. A driver that can't tell them apart is taken at its word."""
    smi, needed = found["smi"], f"at most {needs.foreign_memory_mib} MiB"
    rows = [row for row in read_csv(smi["apps"]) if row.get("gpu_uuid") == card.uuid]
    ours = [row for row in rows if smi["units"].get(row["pid"], "").startswith("vllm-")]
    sizes = [re.match(r"\d+", row["used_gpu_memory" if "used_gpu_memory" in row else "used_memory"]) for row in ours]
    used = (card.used_mib or 0) - sum(int(size.group()) for size in sizes if size)
    if ours and not all(sizes):
        return ok("used by others", "not known: the driver does not say what the engines hold", needed)
    if used <= needs.foreign_memory_mib:
        return ok("used by others", f"{max(0, used)} MiB", needed)
    names = sorted({row["process_name"].rsplit("/", 1)[-1] for row in rows if row not in ours})
    others = [who for who in found["card_holders"] if not who["unit"].startswith("vllm-")]
    names = names or sorted({f"{who['process']} (pid {who['pid']}, {who['unit'] or 'no unit'})" for who in others})
    advice = "stop what uses it: a display server goes with `systemctl set-default multi-user.target` and a reboot"
    text = f"others hold {used} MiB of it ({shown(names) if names else 'no program is named'})"
    return fail("used by others", text, advice, needed)


def _link(needs: CardNeeds, card: Card) -> Check:
    """An idle card drops its link to the first generation by itself: then what it can do counts. Lanes don't drop."""
    generation = card.link_generation_most if card.idle else card.link_generation
    now = f"generation {card.link_generation or '?'} x{card.link_width or '?'}"
    most = f"at most {card.link_generation_most or '?'} x{card.link_width_most or '?'}"
    text, needed = f"{now} now{' (idle)' if card.idle else ''}, {most}", f"{needs.link_generation} x{needs.link_width}"
    advice = "look at slot, riser and firmware settings: weights load slower over it"
    if card.link_width is not None and card.link_width < needs.link_width:
        return warn("PCIe link", text, advice, needed)
    if generation is not None and generation < needs.link_generation:
        return warn("PCIe link", text, advice, needed)
    return ok("PCIe link", text, needed)


def _persistence(needs: CardNeeds, card: Card) -> Check:
    if card.persistence is False:
        if needs.installs:
            return ok("persistence", "off: install turns it on")
        advice = "systemctl enable --now nvidia-persistenced: the driver unloads between programs without it"
        return warn("persistence", "off", advice, "on")
    return ok("persistence", "on" if card.persistence else "not told")


def _ecc(card: Card) -> Check:
    text = {True: "on", False: "off", None: "this card has none"}[card.ecc]
    if card.ecc_errors:
        advice = "reset or reboot; a card that goes on with this must be replaced"
        return warn(
            "ECC", f"{text}, {several(card.ecc_errors, 'uncorrected error')} since the driver was loaded", advice
        )
    return ok("ECC", text + (", no errors" if card.ecc else ""))


def _power(needs: CardNeeds, card: Card) -> Iterator[Check]:
    wanted = needs.power_limit_watts.get(card.index)
    if card.power_limit is None:
        return
    text = f"{card.power_limit:.0f} W of {card.power_most or 0:.0f} W"
    if wanted and not (card.power_least or 0) <= wanted <= (card.power_most or wanted):
        allowed = f"{card.power_least or 0:.0f} to {card.power_most or 0:.0f} W"
        found = f"gpu/power_limit_watts asks for {wanted} W"
        yield fail("power limit", found, "give a limit that the card takes", allowed)
    elif wanted and card.power_limit != wanted:
        yield ok("power limit", f"{text}: install sets {wanted} W", f"{wanted} W")
    else:
        yield ok("power limit", text, f"{wanted} W" if wanted else "")


def _xid(lines: Sequence[str]) -> Check:
    name = "card errors (Xid)"
    if not lines:
        return ok(name, "none in the kernel log since boot")
    numbers = [int(match.group(1)) for line in lines if (match := re.search(r"Xid[^:]*(?:\([^)]*\))?: (\d+)", line))]
    said = sorted({f"{number} {SERIOUS_XIDS.get(number, '')}".strip() for number in numbers})
    text = f"{several(len(lines), 'line')} since boot: {shown(said) if said else lines[-1]}"
    serious = not numbers or any(number in SERIOUS_XIDS for number in numbers)
    advice = (
        "the card itself failed: look at power, cooling and seating (journalctl -k --grep Xid)"
        if serious
        else "a program on the card failed; the card goes on (journalctl -k --grep Xid)"
    )
    return warn(name, text, advice, "none")


def _containers(needs: CardNeeds, found: Mapping[str, Any]) -> Iterator[Check]:
    name, devices = "cards in containers (CDI)", found["container_devices"]
    absent = [str(number) for number in needs.cards if str(number) not in devices]
    if not absent:
        yield ok(name, f"nvidia.com/gpu={', '.join(map(str, needs.cards))}")
    elif needs.container_toolkit:
        yield ok(name, "not described yet: install brings it")
    else:
        text = f"no CDI specification of this host has card {', '.join(absent)}"
        advice = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or set gpu/container_toolkit: True"
        yield fail(name, text, advice)
