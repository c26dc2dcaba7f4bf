"""Open WebUI's move to another image, done by the host's own program; the data is copied, never shared."""

import json
from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import tandemctl
from tandem.domain.rollout import State
from tandem.domain.webui_switch import CLOSED
from tandem.facts.ctl import CtlStatus
from tandem.facts.webui import WebuiSeen
from tandem.hostside.state import from_record
from tandem.operations.live import Commands, LiveCommand


@operation()
def prepare(slot: str) -> Commands:
    """Keeps the WebUI of the slot that does not serve from starting by itself, before its unit is there.

    + slot: the one that does not serve
    """
    webui = _state().webui
    if (webui and webui.slot == slot) or host.get_fact(WebuiSeen)["slots"][slot]["parked"]:
        host.noop(f"the WebUI in {slot} starts only when the switch wants it")
        return
    journal.note(host, f"parked open-webui-{slot}")
    yield tandemctl("webui", "prepare", "--slot", slot)


@operation()
def switch(order: Mapping[str, Any]) -> Commands:
    """Tries the image on a copy of the data, then lets it take over. What served before is kept with its data.

    + order: as ``tandemctl webui switch`` reads it on standard input
    """
    webui = _state().webui
    if webui and webui.slot == order["slot"] and webui.port != CLOSED:
        host.noop(f"{order['image']} serves from {order['slot']}")
        return
    journal.note(host, f"switched the WebUI to {order['image']} in {order['slot']}")
    yield LiveCommand(tandemctl("webui", "switch"), _stdin=json.dumps(order))


@operation()
def mend() -> Commands:
    """What served before a switch that was cut short serves again."""
    webui = _state().webui
    if webui is None or webui.port != CLOSED:
        host.noop("no WebUI switch was cut short")
        return
    journal.note(host, f"opened the WebUI of {webui.slot} again: a switch had been cut short")
    yield LiveCommand(tandemctl("webui", "mend"))


def _state() -> State:
    status = host.get_fact(CtlStatus)
    return from_record(status) if status else State()
