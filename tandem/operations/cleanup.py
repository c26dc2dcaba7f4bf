"""Removal of what no kept release uses."""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from pyinfra import host
from pyinfra.api import OperationError, operation

from tandem import journal
from tandem.commands import tandemctl
from tandem.domain.cleanup import Item, allowed
from tandem.domain.weights import size
from tandem.facts.cleanup import Unneeded
from tandem.operations.live import Commands, LiveCommand

NOT_INSTALLED: Final = "this host does not know how to clean up yet. Nothing was removed. Run deploys/install.py first."


@operation()
def remove(question: Mapping[str, Any], consent: Collection[str] = ()) -> Commands:
    """Removes images, unit files, reports and leftovers that no kept release uses; the host looks anew before it does.

    + question: what is declared, as ``tandem.hostside.cleanup`` reads it
    + consent: kinds that go only when named: model, webui
    """
    seen = host.get_fact(Unneeded, _stdin=json.dumps(question))
    if not seen or seen["refused"]:
        raise OperationError(seen.get("refused") or NOT_INSTALLED)
    items = allowed([Item(**item) for item in seen["items"]], consent)
    if not items:
        host.noop("nothing may go: every image, model and unit is of a kept release")
        return
    journal.note(
        host, f"removed {len(items)} things that no kept release uses ({size(sum(one.bytes for one in items))})"
    )
    named = [[item.kind, item.name] for item in items]
    yield LiveCommand(tandemctl("cleanup", "run"), _stdin=json.dumps({**question, "remove": named}))
