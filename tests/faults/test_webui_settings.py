"""What the real Open WebUI keeps in its database against what the inventory says, on a rehearsal host."""

from collections.abc import Iterator

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.deploying import Workplace
from tests.faults.onhost import OnHost

NAME = "set1"
SITE = "tests/faults/deploys/backup.py"
"""Open WebUI and its front door, without an engine."""
OURS, THEIRS = "http://127.0.0.1:18501/v1", "http://127.0.0.1:8000/v1"


@pytest.fixture
def there() -> Iterator[OnHost]:
    host.remove(STATE, NAME)
    # Its cards never matter: one that has always had its driver is made fastest.
    host.create(STATE, NAME, lambda _sentence: None, blank=False)
    host.boot(STATE, NAME)
    yield OnHost(NAME)
    host.remove(STATE, NAME)


def test_the_inventory_wins_with_the_next_start_and_the_administrators_settings_stay(
    there: OnHost, workplace: Workplace
) -> None:
    ended = workplace.run(workplace.inventory(NAME), SITE)
    assert ended.status == 0, ended.output
    key = there.shell("cat /etc/tandem/secrets/upstream_key").strip()
    by_hand = {"url": "https://by-hand.example", "banner": "hello", "connection": THEIRS}
    there.program("webui_admin", by_hand)
    assert there.program("webui_people", {"upstream": True}) == {"keys": ["theirs", "one that is wrong"]}

    renamed = {"edge": {**dict(hosts(STATE))[NAME]["edge"], "server_name": "renamed.example"}}
    inventory = workplace.inventory(NAME, renamed)
    ended = workplace.run(inventory, SITE)
    assert ended.status == 0, ended.output
    assert there.program("webui_admin", {}) == {
        "url": "https://renamed.example",
        "banners": ["hello"],
        "urls": [THEIRS, OURS],
        "keys": ["theirs", key],
        "stranger": 403,
    }
    assert key not in there.shell("journalctl --output=cat --unit=open-webui-blue")
    again = workplace.run(inventory, SITE)
    assert (again.status, again.changed) == (0, []), again.output
