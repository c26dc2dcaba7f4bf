"""Cards and driver under what serves: the doctor's own look, judged for a host that is installed."""

import json
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tandem.commands import program_source
from tandem.domain.cards import APP_FIELDS, FIELDS
from tandem.domain.checks import CardNeeds, Check
from tandem.domain.doctor_cards import gpu
from tandem.domain.slots import UIDS, card_of
from tests.host.reading import Seen


@pytest.fixture(scope="module")
def found(root: Host) -> dict[str, Any]:
    question = {
        "ports": [],
        "uids": UIDS,
        "folders": ["/"],
        "stores": [],
        "image_stores": [],
        "paths": [],
        "images": [],
        "models": [],
        "sources": {},
        "ask": "none",
        "limit_seconds": 1,
        "card_fields": FIELDS,
        "app_fields": APP_FIELDS,
    }
    said = root.check_output("python3 -I -c %s %s", program_source("observe_doctor"), json.dumps(question))
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.fixture(scope="module")
def rows(found: dict[str, Any], system: Seen) -> dict[str, Check]:
    """What the doctor says of the cards that engines serve from. Nobody will install a driver: it must be there."""
    serving = system["state"]["serving"]
    cards = tuple(sorted(card_of(serving, port) for port in system["state"]["slots"][serving]["engine_ports"]))
    needs = CardNeeds(cards=cards, driver_source="none", container_toolkit=False)
    return {row.name: row for row in gpu(needs, found)}


def test_nothing_about_cards_and_driver_fails(rows: dict[str, Check]) -> None:
    assert [row.sentence for row in rows.values() if row.level == "fail"] == []


def test_the_loaded_module_and_the_installed_library_are_one_version(rows: dict[str, Check]) -> None:
    assert rows["driver and library"].level == "ok", rows["driver and library"].sentence


def test_containers_are_given_every_card_by_name(rows: dict[str, Check]) -> None:
    assert rows["cards in containers (CDI)"].level == "ok", rows["cards in containers (CDI)"].sentence


def test_the_next_boot_has_a_driver_where_packages_bring_it(found: dict[str, Any], rows: dict[str, Check]) -> None:
    """A driver without packages is its owner's own business."""
    if found["packages"]["driver"]:
        assert rows["module, next boot"].level == "ok", rows["module, next boot"].sentence


def test_unattended_upgrades_leave_the_driver_alone(found: dict[str, Any]) -> None:
    held = {name for name, _ in found["packages"]["held"]}
    kept = any("nvidia" in pattern for pattern in found["apt"]["blacklist"])
    assert not found["apt"]["unattended"] or kept or set(found["packages"]["driver"]) <= held
