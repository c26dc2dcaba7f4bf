"""Which order a slot was prepared for: what is begun is what was prepared, or nothing."""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tandem.domain.layout import Engine
from tandem.domain.refused import Refused
from tandem.domain.upgrade_orders import fingerprint
from tandem.hostside import carry, lock
from tandem.hostside import state as record
from tandem.hostside.files import write_atomic
from tandem.hostside.paths import Paths
from tandem.hostside.sight import boot_seconds

CASES: Final = "etc/tandem/cases.json"
HELD_SECONDS: Final = 60.0
"""So long nobody else prepares another one: what is prepared is begun as soon as its files are there."""


def prepare(options: argparse.Namespace, paths: Paths, who: str, user: str) -> None:
    """The idle slot's engines must not start before the rollout is begun, not even at a boot. Of several who prepare
    one, the first has a minute to begin, and nobody begins what another one prepared.
    """
    with lock.lock(paths.lock, who, f"prepare slot {options.slot}", options.wait_seconds):
        now = record.load(paths.state)
        if now.rollout is not None or options.slot == now.serving:
            raise Refused(f"slot {options.slot} is used by the {now.phase} release. Nothing was changed.")
        _note(options.order, user, paths)
        carry.park([Engine(options.slot, card) for card in options.cards], paths)
    print(f"the engines of slot {options.slot} wait for the rollout")


def check(order: Mapping[str, Any], paths: Paths) -> None:
    """Raises Refused when it is not what was prepared last, or its cases are not those on the host."""
    (known, age), mark = _known(paths), fingerprint(order)
    if known.get("order", mark) != mark:
        when = f", {age:.0f} s ago" if age >= 0 else ""
        raise Refused(
            f"what is to be begun is not what was prepared last: {known.get('user')} prepared another upgrade{when}. "
            "No rollout was begun. Agree on one, then run deploys/upgrade.py for it again."
        )
    if order.get("cases") and _cases(paths) != order["cases"]:
        raise Refused(
            f"{paths.root / CASES} holds other cases than this upgrade compares with: somebody else staged theirs "
            "meanwhile. No rollout was begun. Agree on one set, then run deploys/upgrade.py again."
        )


def forget(paths: Paths) -> None:
    """It is begun."""
    _record(paths).unlink(missing_ok=True)


def _note(order: str, user: str, paths: Paths) -> None:
    """Records that ``user`` prepares this order (its fingerprint; "": one that is not known before it is begun).

    Raises Refused while somebody prepares another one.
    """
    known, age = _known(paths)
    if known.get("order", order) != order and 0 <= age < HELD_SECONDS:
        raise Refused(
            f"another upgrade was prepared {age:.0f} s ago by {known.get('user')}, and is not begun yet. Nothing was "
            f"changed. Agree on one, and run deploys/upgrade.py for it {HELD_SECONDS:.0f} s from now."
        )
    if order:
        text = json.dumps({"order": order, "user": user, "boot_seconds": round(boot_seconds(), 3)}) + "\n"
        write_atomic(_record(paths), text, "0644", os.geteuid(), os.getegid())
    else:
        forget(paths)


def _cases(paths: Paths) -> str:
    try:
        return hashlib.sha256((paths.root / CASES).read_bytes()).hexdigest()
    except FileNotFoundError:
        return "missing"


def _record(paths: Paths) -> Path:
    return paths.state.with_name("prepared.json")


def _known(paths: Paths) -> tuple[dict[str, str], float]:
    """What was prepared last, if anything, and how many seconds ago; below 0: before the last boot."""
    try:
        found = json.loads(_record(paths).read_text(encoding="utf-8"))
        return {"order": str(found["order"]), "user": str(found["user"])}, boot_seconds() - float(found["boot_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, -1.0
