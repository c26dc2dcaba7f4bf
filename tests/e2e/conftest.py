"""The rehearsal host gpu1 as its users see it: what `make rehearse` wrote to .rehearsal/access.json, and nothing else.

Run as root where the host is rebooted. The reboot comes last.
"""

import json
from typing import Any

import pytest

from tandem.rehearsal import host as rehearsal
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.rootfs import Host
from tests.e2e.site import Site

NAME = "gpu1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = ("test_upgrade.py", "test_reboot.py")
    items.sort(key=lambda item: last.index(item.path.name) if item.path.name in last else -1)


class Access(dict[str, Any]):
    """Holds passwords, and a failing test prints what it was given."""

    def __repr__(self) -> str:
        return "<access>"


@pytest.fixture(scope="session")
def access() -> Access:
    file = STATE / "access.json"
    assert file.exists(), f"{file} is not there: `make rehearse` makes the host that these tests need"
    return Access(json.loads(file.read_text()))


@pytest.fixture(scope="session")
def site(access: dict[str, Any]) -> Site:
    return Site(access)


@pytest.fixture(scope="session")
def machine() -> Host:
    return rehearsal.load(STATE, NAME)
