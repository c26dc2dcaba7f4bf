"""A rollout, begun, steered, undone and followed by the host's own program; what serves changes only there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import OperationError, StringCommand, operation

from tandem import journal, reportfile
from tandem.commands import tandemctl
from tandem.domain.rollout import State
from tandem.domain.slots import engine_unit
from tandem.domain.upgrade_orders import fingerprint
from tandem.facts.ctl import CtlStatus
from tandem.facts.rollout import Situation
from tandem.facts.tree import TreeState
from tandem.hostside.state import from_record
from tandem.operations.live import Commands, LiveCommand

PARKED = "/var/lib/tandem/parked"


@operation()
def prepare(slot: str, cards: Sequence[int], order: Mapping[str, Any] | None = None) -> Commands:
    """Keeps the engines of an idle slot from starting by themselves, before their units are there.

    + slot: the one that does not serve
    + cards: indexes of the cards that its engines are for
    + order: what is to be begun there: then nothing else is. Another one may have begun since the plan was made
    """
    under_way, digest = _state(), order["digest"] if order else ""
    if digest and under_way.rollout and under_way.slots[under_way.rollout.swap.new].digest != digest:
        raise OperationError(
            f"a rollout to {under_way.slots[under_way.rollout.swap.new].release} has begun meanwhile. Its engines were "
            "left as they are. Let it end, or undo it with deploys/rollback.py; then run upgrade again."
        )
    units = [engine_unit(slot, card) for card in cards]
    markers = {f"{PARKED}/{unit}": unit for unit in units}
    seen = host.get_fact(TreeState, question={"paths": sorted(markers), "generated": [], "groups": []})
    missing = [unit for path, unit in markers.items() if path not in seen["entries"]]
    if under_way.rollout is not None or (not missing and not order):
        host.noop(f"the engines in {slot} start only when the rollout wants them")
        return
    journal.note(host, f"parked {', '.join(missing)}" if missing else f"reserved slot {slot} for this upgrade")
    words = ["--order", fingerprint(order)] if order else []
    yield tandemctl("upgrade", "prepare", "--slot", slot, "--cards", ",".join(map(str, cards)), *words)


@operation()
def begin(order: Mapping[str, Any]) -> Commands:
    """Hands the rollout to the host, which carries it on from here; returns once it has accepted.

    + order: as ``tandemctl upgrade begin`` reads it on standard input
    """
    state, name = _state(), f"{order['release']} ({order['digest']})"
    if state.rollout and state.slots[state.rollout.swap.new].digest == order["digest"]:
        host.noop(f"the rollout of {name} is under way ({state.phase})")
        return
    if state.current and state.current.digest == order["digest"]:
        host.noop(f"release {name} serves already")
        return
    journal.note(host, f"began the rollout of {name} in {order['slot']}: {order['strategy']}")
    yield LiveCommand(tandemctl("upgrade", "begin"), _stdin=json.dumps(order))


@operation(is_idempotent=False)
def steer(words: Sequence[str]) -> Commands:
    """Moves, holds, resumes or finishes the rollout under way.

    + words: what follows ``tandemctl upgrade``
    """
    journal.note(host, f"asked the host: upgrade {' '.join(words)}")
    yield LiveCommand(tandemctl("upgrade", *words))


@operation()
def back(why: str = "") -> Commands:
    """Undoes the rollout under way: traffic first. Also asked where the record can't be read from here.

    + why: kept in the host's history
    """
    seen = host.get_fact(Situation)
    if not seen or ("rollout" in seen and seen["rollout"] is None):
        host.noop("no rollout is under way")
        return
    journal.note(host, "undid the rollout that was under way")
    yield LiveCommand(tandemctl("rollback", *([f"--why={why}"] if why else [])))


@operation(is_idempotent=False)
def follow(place: Path) -> Commands:
    """Tells how the rollout goes until it is over or held, and brings its report. Cutting this short stops nothing.

    + place: the folder for the report
    """
    # Asked even where none is under way by now: it may be over already, and not as it was begun for.
    journal.note(host, "followed the rollout until it was over or held")
    yield _Followed(tandemctl("follow"), place)


class _Followed(LiveCommand):
    """The report comes in any case: it is wanted most where the rollout was undone."""

    def __init__(self, command: StringCommand, place: Path) -> None:
        super().__init__(command)
        self.place = place

    def execute(self, state: Any, host: Any, connector_arguments: Any) -> Any:
        result = super().execute(state, host, connector_arguments)
        journal.remark(host, reportfile.fetch(host, self.place))
        return result


def _state() -> State:
    status = host.get_fact(CtlStatus)
    return from_record(status) if status else State()
