"""What the doctor says of cards, driver and kernels, in each failure state."""

from dataclasses import replace
from typing import Any

import pytest

from tandem.domain.checks import CardNeeds
from tests.unit.doctoring import (
    BUS,
    BY_HAND,
    CARD,
    DRIVER,
    GOOD,
    KERNEL,
    LATER,
    NEEDS,
    NO_DRIVER,
    SECOND,
    not_passed,
    rows,
    said,
    smi,
)

HAND = replace(NEEDS, cards=BY_HAND)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
LOST = (
    "Unable to determine the device handle for GPU0000:41:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
)
XID_79 = "NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
XID_31 = "NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name=python3, Ch 00000008, intr 00000000. MMU Fault"
TWO_KERNELS = GOOD["kernels"] | {"boot": [KERNEL, LATER]}


def spoil(**changes: str) -> dict[str, str]:
    """One figure of the second card."""
    return {**SECOND, **{name.replace("__", "."): value for name, value in changes.items()}}


CASES: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "mismatch": (
        {"smi": said(MISMATCH, 18), "packages": GOOD["packages"] | {"driver": {"libcuda1": "580.159.03-1"}}},
        {"driver and library": "fail", "module, next boot": "warn"},
        "the loaded module is 580.159.04, the installed library 580.159.03; the same version is needed: reboot",
    ),
    "library newer than the module, unnoticed yet": (
        {"packages": GOOD["packages"] | {"driver": {"libcuda1": "580.173.02-1", "libnvidia-ml1": "580.173.02-1"}}},
        {"driver and library": "fail", "module, next boot": "warn"},
        "the installed library 580.173.02",
    ),
    "lost card": ({"smi": said(LOST, 15)}, {"nvidia-smi": "fail"}, "a card fell off the bus: Unable to determine"),
    "lost card with a row": (
        {"smi": smi(CARD, dict.fromkeys(CARD, "[GPU is lost]") | {"index": "1", "pci.bus_id": "0000:41:00.0"})},
        {"card 1: model": "fail"},
        "card 1: it is lost",
    ),
    "one card in driver and bus": (
        {"smi": smi(CARD), "bus": BUS[:1]},
        {"cards": "fail"},
        "the driver shows 1 card; there is no card 1; 2 cards (engine/cards 0, 1) is needed: look at its seating",
    ),
    "one card in the driver, two on the bus": ({"smi": smi(CARD)}, {"cards": "fail"}, "the bus has 2: reboot"),
    "no card": (
        {"smi": said("No devices were found\n", 6), "bus": []},
        {"cards": "fail", "nvidia-smi": "fail"},
        "no card",
    ),
    "old driver": (
        {
            "smi": smi(CARD | {"driver_version": "575.64.03"}, SECOND | {"driver_version": "575.64.03"}),
            "module": "575.64.03",
            "packages": GOOD["packages"] | {"driver": {"libcuda1": "575.64.03-1"}},
            "kernels": GOOD["kernels"] | {"modules": {KERNEL: "575.64.03"}},
        },
        {"driver": "fail"},
        "the driver is 575.64.03; driver 580.65.06 or newer (CUDA 13.0) is needed",
    ),
    "no driver": (
        NO_DRIVER,
        {
            "driver": "fail",
            "nvidia-smi": "fail",
            "headers, running": "warn",
            "headers, next boot": "warn",
            "cards in containers (CDI)": "fail",
        },
        "no driver runs",
    ),
    "nouveau": ({"nouveau": True}, {"nouveau": "fail"}, "nouveau holds the cards"),
    "driver that does not answer": (
        {"smi": said("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9)},
        {"nvidia-smi": "fail"},
        "the driver does not answer: NVIDIA-SMI has failed",
    ),
    "small card": (
        {"smi": smi(CARD, spoil(memory__total="12282 MiB"))},
        {"card 1: memory": "fail"},
        "card 1: it has 12282 MiB; 22000 MiB is needed",
    ),
    "memory held by a display server": (
        {
            "smi": smi(CARD, spoil(memory__used="2100 MiB")),
            "card_holders": [{"process": "Xorg", "pid": 812, "unit": "gdm.service"}],
        },
        {"card 1: used by others": "fail"},
        "others hold 2100 MiB of it (Xorg (pid 812, gdm.service)); at most 1024 MiB is needed",
    ),
    "memory held by a program": (
        {"smi": smi(CARD, spoil(memory__used="9000 MiB"), apps="GPU-2, 77, /usr/bin/python3, 8990 MiB\n")},
        {"card 1: used by others": "fail"},
        "others hold 9000 MiB of it (python3)",
    ),
    "narrow link": (
        {"smi": smi(CARD, spoil(**{"pcie.link.width.current": "4"}))},
        {"card 1: PCIe link": "warn"},
        "generation 1 x4 now (idle), at most 4 x16",
    ),
    "slow link of a busy card": (
        {"smi": smi(CARD, spoil(pstate="P0", **{"pcie.link.gen.current": "3"}))},
        {"card 1: PCIe link": "warn"},
        "generation 3 x16 now, at most 4 x16",
    ),
    "slow slot": (
        {"smi": smi(CARD, spoil(**{"pcie.link.gen.max": "3"}))},
        {"card 1: PCIe link": "warn"},
        "at most 3 x16",
    ),
    "no persistence": (
        {"smi": smi(CARD, spoil(persistence_mode="Disabled"))},
        {"card 1: persistence": "warn"},
        "off; on is needed: systemctl enable --now nvidia-persistenced",
    ),
    "memory errors": (
        {"smi": smi(CARD, spoil(**{"ecc.mode.current": "Enabled", "ecc.errors.uncorrected.volatile.total": "3"}))},
        {"card 1: ECC": "warn"},
        "3 uncorrected errors",
    ),
    "card errors": (
        {"xid": [XID_79]},
        {"card errors (Xid)": "warn"},
        "79 fell off the bus; none is needed: the card itself",
    ),
    "program errors": (
        {"xid": [XID_31]},
        {"card errors (Xid)": "warn"},
        "1 line since boot: 31; none is needed: a program",
    ),
    "next boot without module": (
        {"kernels": TWO_KERNELS},
        {"headers, next boot": "warn", "module, next boot": "warn"},
        f"none for {LATER} (580.159.04 for {KERNEL}); the driver's module is needed: do not reboot before it is built",
    ),
    "container devices missing": (
        {"container_devices": ["0", "all"]},
        {"cards in containers (CDI)": "fail"},
        "no CDI specification of this host has card 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_state_has_its_row_and_its_words(case: str) -> None:
    """With ``driver_source`` none: nobody but the operator will mend it."""
    changes, levels, words = CASES[case]
    assert not_passed(changes, HAND) == levels
    assert words in " ".join(row.sentence for row in rows(changes, HAND).values() if row.level != "ok")


def test_a_host_without_a_fault_passes_every_row() -> None:
    assert not_passed({}) == {}
    assert not_passed({}, HAND) == {}


def test_what_install_brings_is_no_fault() -> None:
    found = rows(NO_DRIVER)
    assert not_passed(NO_DRIVER) == {}
    assert "install brings branch 580" in found["driver"].found
    assert found["cards"].found == "2: NVIDIA RTX 4090 D (10de:2685)"
    assert "install brings it" in found["headers, next boot"].found
    assert found["card 1: PCIe link"].found == "generation 1 x16 now (idle), at most 4 x16"


def test_a_driver_that_waits_for_a_boot_is_no_fault() -> None:
    waiting = {**NO_DRIVER, "packages": GOOD["packages"], "kernels": GOOD["kernels"], "smi": said("has failed\n", 9)}
    assert not_passed(waiting) == {}
    assert "580.159.04 is installed and not loaded" in rows(waiting)["driver"].found
    assert rows(waiting)["module, next boot"].found == f"580.159.04 for {KERNEL}"


@pytest.mark.parametrize("case", ["mismatch", "old driver", "nouveau"])
def test_what_install_mends_only_warns(case: str) -> None:
    levels = not_passed(CASES[case][0])
    assert levels
    assert set(levels.values()) == {"warn"}


@pytest.mark.parametrize(
    "case", ["lost card", "one card in driver and bus", "small card", "driver that does not answer"]
)
def test_what_install_can_not_mend_refuses(case: str) -> None:
    assert "fail" in not_passed(CASES[case][0]).values()


def test_a_card_that_no_engine_uses_does_not_matter() -> None:
    one = replace(HAND, cards=replace(BY_HAND, cards=(0,)))
    assert not_passed({"smi": smi(CARD, spoil(memory__total="2048 MiB"))}, one) == {}
    assert not_passed({"smi": smi(CARD), "bus": BUS[:1]}, one) == {}


def test_memory_of_our_own_engines_is_not_held_by_others() -> None:
    apps = "GPU-2, 77, VLLM::EngineCore, 20990 MiB\n"
    ours = smi(CARD, spoil(memory__used="21000 MiB"), apps=apps, units={"77": "vllm-blue-1.service"})
    assert not_passed({"smi": ours}) == {}
    theirs = smi(CARD, spoil(memory__used="21000 MiB"), apps=apps, units={"77": "user@1000.service"})
    assert not_passed({"smi": theirs}) == {"card 1: used by others": "fail"}


def test_a_branch_that_is_too_old_for_the_release_is_refused_whatever_runs_now() -> None:
    """GeForce has no forward compatibility: the container can't bring what the driver lacks."""
    old = replace(NEEDS, cards=CardNeeds(driver_branch="570"))
    for changes in ({}, NO_DRIVER):
        assert not_passed(changes, old) == {"driver": "fail"}
    sentence = rows({}, old)["driver"].sentence
    assert "gpu/driver_branch is 570; driver 580.65.06 or newer (CUDA 13.0) is needed" in sentence
    assert "GeForce cards have no forward compatibility" in sentence
    assert not_passed(NO_DRIVER, replace(NEEDS, cards=CardNeeds(driver_branch="570", cuda="12.8"))) == {}


def test_secure_boot_refuses_where_a_module_would_be_built_and_not_let_in() -> None:
    on = {"secure_boot": {"on": True, "enrolled": False}}
    assert not_passed({**NO_DRIVER, **on}) == {"Secure Boot": "fail"}
    assert not_passed(on) == {}
    assert not_passed({**NO_DRIVER, "secure_boot": {"on": True, "enrolled": True}}) == {}


def test_a_power_limit_beyond_the_card_is_refused_with_the_numbers() -> None:
    needs = replace(NEEDS, cards=CardNeeds(power_limit_watts={1: 600}))
    assert rows({}, needs)["card 1: power limit"].sentence == (
        "card 1: gpu/power_limit_watts asks for 600 W; 150 to 425 W is needed: give a limit that the card takes"
    )
    lower = replace(NEEDS, cards=CardNeeds(power_limit_watts={0: 350}))
    assert "install sets 350 W" in rows({}, lower)["card 0: power limit"].found


def test_the_kernel_that_grub_names_counts_not_the_newest() -> None:
    named = {**TWO_KERNELS, "grub_default": f'"Advanced options>Debian GNU/Linux, with Linux {KERNEL}"'}
    assert not_passed({"kernels": named}, HAND) == {}
    assert DRIVER in rows({"kernels": named}, HAND)["module, next boot"].found
