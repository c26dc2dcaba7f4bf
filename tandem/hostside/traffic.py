"""The files that say which slot gets which share of the requests: made from the record, never edited."""

import http.client
import os
import stat
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tandem.domain.rollout import State
from tandem.hostside.failed import Failed
from tandem.hostside.files import write_atomic
from tandem.hostside.paths import Paths
from tandem.hostside.probe import STATUS_TIMEOUT_SECONDS, request
from tandem.hostside.split import engine_split, split_revision, webui_split
from tandem.hostside.units import reload

ROUTERS: Final = {"engine.conf": "tandem-router-engine", "webui.conf": "tandem-router-webui"}
MODE: Final = "0644"
UNREAD: Final = "not used by its router"
RELOAD_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 3.0
SETTLED_SECONDS: Final = 0.4


class NotTaken(Failed):
    """An Nginx process did not take what it was reloaded for."""


def wanted(state: State) -> dict[str, str]:
    """Name and text of each split file; {} while nothing serves."""
    if state.webui is None:
        return {}
    ports = {name: slot.asked for name, slot in state.slots.items()}
    weights = {name: slot.weight for name, slot in state.slots.items()}
    # Who moves first is drawn anew in every rollout.
    salt = state.rollout.id if state.rollout else state.past.id if state.past else ""
    return {"engine.conf": engine_split(ports, weights, salt=salt), "webui.conf": webui_split(state.webui.port)}


def differing(state: State, paths: Paths) -> dict[str, str]:
    """The split files that are not as recorded, or that their running router does not use, with a word about each."""
    found = {name: _compare(name, text, paths) for name, text in wanted(state).items()}
    return {name: what for name, what in found.items() if what}


def render(state: State, repairs: Mapping[str, str], paths: Paths) -> None:
    """Write these files (as ``differing`` names them); their routers read them, and say so. If cut short, run it again.

    Raises NotTaken when a router still uses another split after its reload, SubprocessError when the reload fails.
    """
    texts = wanted(state)
    for name, what in sorted(repairs.items()):
        if what != UNREAD:
            paths.split.mkdir(parents=True, exist_ok=True)
            write_atomic(paths.split / name, texts[name], MODE, os.geteuid(), os.getegid())
        if reload(ROUTERS[name]):
            confirm(ROUTERS[name], "split", split_revision(texts[name]), partial(_used, name, paths), reload)


def confirm(
    unit: str,
    what: str,
    revision: str,
    used: Callable[[], str | None],
    again: Callable[[str], object] | None = None,
) -> None:
    """Wait until every answer of a reloaded unit names this revision: Nginx can accept a reload and keep what it had.

    ``what`` has that revision; ``used`` asks for the one in use. Old workers answer beside the new ones for 0.1 s, so
    one right answer is no proof; an unbroken row of them is. ``again`` reloads a unit that has missed it. Raises
    NotTaken.
    """
    deadline, due = time.monotonic() + RELOAD_SECONDS, time.monotonic() + AGAIN_SECONDS
    right_since: float | None = None
    while True:
        seen, now = used(), time.monotonic()
        right_since = (right_since or now) if seen == revision else None
        if right_since and now - right_since >= SETTLED_SECONDS:
            return
        if again and not right_since and now >= due:
            again(unit)
            due = now + AGAIN_SECONDS
        if not right_since and now >= deadline:
            raise NotTaken(
                f"{unit} was reloaded, but uses {what} {seen or 'unknown'} instead of {revision} after "
                f"{RELOAD_SECONDS:.0f} s. It serves as before. See journalctl -u {unit}, then run it again."
            )
        time.sleep(0.02)


def _compare(name: str, text: str, paths: Paths) -> str | None:
    path = paths.split / name
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return "missing"
    kind_and_owner = (seen.st_mode, seen.st_uid, seen.st_gid)
    if kind_and_owner != (stat.S_IFREG | int(MODE, 8), os.geteuid(), os.getegid()):
        return "changed"
    if path.read_text(encoding="utf-8", errors="replace") != text:
        return "changed"
    return None if _used(name, paths) in (None, split_revision(text)) else UNREAD


def _used(name: str, paths: Paths) -> str | None:
    """The revision of the split that a router serves; None for one that does not answer."""
    url = f"http://127.0.0.1:{paths.status_ports[ROUTERS[name]]}/split"
    try:
        status, body = request("GET", url, STATUS_TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    return body.decode("ascii", errors="replace").strip() if status == 200 else None
