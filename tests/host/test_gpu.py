"""Driver, holds and CDI. A host whose driver Tandem does not manage is held to less: see each test."""

import json
import re

import pytest

from tests.host.conftest import Ask
from tests.host.reading import Seen

KERNEL_META = re.compile(r"linux-(?:image|headers)-(?!\d)|linux-(?:generic|virtual)")


@pytest.fixture(scope="module")
def cards(ask: Ask) -> Seen:
    return ask("cards")


def test_module_and_library_are_of_one_version(cards: Seen) -> None:
    """Otherwise what runs goes on, and the next container finds no card."""
    library = cards["packages"].get("libcuda1")
    if library:
        assert library.rsplit("-", 1)[0] == cards["loaded"]


def test_the_next_boot_finds_its_module(cards: Seen) -> None:
    if managed(cards):
        assert cards["modules"]
        newest = max(cards["modules"], key=lambda kernel: [int(number) for number in re.findall(r"\d+", kernel)])
        assert cards["modules"][newest], f"{newest} has no NVIDIA module"
        assert not cards["nouveau"]


def test_nothing_can_pull_driver_toolkit_and_kernel_apart(cards: Seen) -> None:
    if managed(cards):
        movable = [name for name in cards["packages"] if "nvidia" in name or KERNEL_META.match(name)]
        assert movable
        assert set(movable) <= set(cards["held"])
        assert '"nvidia"' in cards["blacklist"]


def test_each_source_is_trusted_by_a_key_of_its_own(cards: Seen) -> None:
    for path, text in cards["sources"].items():
        (key,) = re.findall(r"^Signed-By: (\S+)$", text, re.MULTILINE)
        assert key in cards["keys"], path


def test_the_specification_of_this_boot_has_every_engines_card(cards: Seen, engines: dict[str, Seen]) -> None:
    if cards["units"]["tandem-cdi.service"]["LoadState"] == "loaded":
        names = re.findall(r"""name["']?: ["']?(\w+)""", cards["cdi"])
        assert {name.rsplit("-", 1)[1] for name in engines} <= set(names)


def test_no_engine_starts_before_its_cards_are_described(cards: Seen, engines: dict[str, Seen]) -> None:
    unit = cards["units"]["tandem-cdi.service"]
    if unit["LoadState"] == "loaded":
        assert unit["ActiveState"] == "active"
        for name in engines:
            assert f"{name}.service" in unit["RequiredBy"].split()
            assert f"{name}.service" in unit["Before"].split()


def test_the_drift_guard_runs_and_has_nothing_to_say(cards: Seen) -> None:
    assert cards["units"]["tandem-driver-check.timer"]["ActiveState"] == "active"
    assert cards["units"]["tandem-driver-check.service"]["Result"] == "success"
    assert cards["mismatch"] == ""


def test_cuda_was_proven_with_the_loaded_driver_in_the_engines_image(cards: Seen, engines: dict[str, Seen]) -> None:
    if managed(cards):
        driver, image, *_ = json.loads(cards["proof"])["key"]
        assert driver == cards["loaded"]
        assert f"Image={image}\n" in next(iter(engines.values()))["unit_file"]


def managed(cards: Seen) -> bool:
    """Tandem installed this driver."""
    return bool(cards["sources"])
