"""A host with two cards and nothing installed for them: made, put into states, and looked at."""

import json
import os

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tests.faults.onhost import OnHost

CARDS = os.environ.get("TANDEM_CARDS_HOST", "gpu3")
"""The name of the host that the tests of the driver make and remove."""

SETTINGS = "/etc/rehearsal/cards.json"
QUERY = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' PATTERNS 2>/dev/null || true"
DRIVER = ("*nvidia*", "libcuda*")


def make() -> OnHost:
    """The host, new."""
    host.remove(STATE, CARDS)
    host.create(STATE, CARDS, lambda _sentence: None, blank=True)
    host.boot(STATE, CARDS)
    return OnHost(CARDS)


def steer(there: OnHost, *states: str) -> None:
    """Puts the cards into these states, for programs, bus, /proc, /sys and log."""
    there.shell(f"cat >{SETTINGS} <<'END'\n{json.dumps({'states': states})}\nEND\nsystemctl restart rehearsal-cards")


def installed(there: OnHost, *patterns: str) -> list[str]:
    """The installed packages with such names."""
    quoted = " ".join(f"'{pattern}'" for pattern in patterns)
    lines = there.shell(QUERY.replace("PATTERNS", quoted)).splitlines()
    return sorted(line.split()[0] for line in lines if line.endswith(" installed"))


def boot_id(there: OnHost) -> str:
    return there.shell("cat /proc/sys/kernel/random/boot_id").strip()
