"""Reading what nvidia-smi and the PCI bus say of cards."""

from pathlib import Path

import pytest

from tandem.domain.cards import APP_FIELDS, FIELDS, Card, generation, lost, read_bus, read_cards, read_csv
from tests.unit.doctoring import BUS, CARD, SECOND, smi

CAPTURES = Path(__file__).with_name("captures")


def test_real_output_of_two_cards_is_read() -> None:
    """nvidia-smi 580.159.04 with two H200, with units and fields that we don't ask for."""
    first, second = read_cards((CAPTURES / "nvidia-smi-two-h200.csv").read_text())
    assert (first.index, first.name, first.bus_id) == (0, "NVIDIA H200", "0000:00:06.0")
    assert (second.index, second.bus_id, second.uuid[:8]) == (1, "0000:00:07.0", "GPU-1581")
    assert (first.memory_mib, first.used_mib, first.driver) == (143771, 0, "580.159.04")
    assert (first.link_generation, first.link_generation_most, first.link_width, first.link_width_most) == (
        5,
        5,
        16,
        16,
    )
    assert (first.persistence, first.ecc, first.power_limit, first.power_most) == (True, True, 700.0, 700.0)
    assert (first.ecc_errors, first.power_least) == (None, None)
    assert not lost(first)


def test_every_field_that_is_asked_for_is_one_that_nvidia_smi_lists() -> None:
    known = (CAPTURES / "nvidia-smi-fields.txt").read_text().split()
    assert [field for field in FIELDS if field not in known] == []
    assert set(APP_FIELDS) == {"gpu_uuid", "pid", "process_name", "used_memory"}


def test_a_consumer_card_says_not_available_for_what_it_does_not_have() -> None:
    card, _ = read_cards(smi(CARD, SECOND)["cards"])
    assert (card.ecc, card.ecc_errors, card.idle) == (False, None, True)
    assert (card.power_limit, card.power_least) == (425.0, 150.0)
    (gone,) = read_cards(smi(CARD | {"ecc.mode.current": "[N/A]"})["cards"])
    assert gone.ecc is None


@pytest.mark.parametrize("words", ["[GPU is lost]", "[Unknown Error]"])
def test_a_card_that_no_longer_answers_is_known_by_its_row(words: str) -> None:
    spoiled = dict.fromkeys(FIELDS, words) | {"index": "1", "pci.bus_id": CARD["pci.bus_id"]}
    first, second = read_cards(smi(CARD, spoiled)["cards"])
    assert (lost(first), lost(second)) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found\n",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n",
        "Unable to determine the device handle for GPU0000:41:00.0: GPU is lost.  Reboot the system\n",
    ],
)
def test_a_message_is_no_card(text: str) -> None:
    assert read_cards(text) == []


def test_names_with_commas_stay_one_value() -> None:
    assert read_csv('pid, process_name\n7, "a, b"\n') == [{"pid": "7", "process_name": "a, b"}]


def test_a_card_without_driver_is_known_by_the_bus() -> None:
    card = read_bus(BUS[1], 1)
    assert card == Card(
        index=1,
        name="NVIDIA RTX 4090 D (10de:2685)",
        uuid="",
        bus_id="0000:41:00.0",
        driver="",
        idle=True,
        link_generation=1,
        link_generation_most=4,
        link_width=16,
        link_width_most=16,
    )
    assert read_bus({**BUS[0], "device": "0x9999", "width": "255"}, 0).name == "NVIDIA card (10de:9999)"
    assert read_bus({**BUS[0], "width": "255", "speed": "Unknown"}, 0).link_width is None


def test_speeds_are_generations() -> None:
    speeds = ("2.5 GT/s PCIe", "8.0 GT/s PCIe", "16.0 GT/s PCIe", "32.0 GT/s PCIe", "Unknown")
    assert [generation(speed) for speed in speeds] == [1, 3, 4, 5, None]
