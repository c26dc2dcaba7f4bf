"""The two places of Open WebUI on the host: their units, their data, and what a switch has to remember."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tandem.domain.rollout import Refused, State, Webui
from tandem.domain.slots import SLOTS, WEBUI_PORT, webui_unit
from tandem.domain.webui_switch import Record, Trial, room
from tandem.hostside import lock as locking
from tandem.hostside import prompts, traffic, units
from tandem.hostside import state as states
from tandem.hostside.files import sync_directory, write_atomic
from tandem.hostside.paths import Paths
from tandem.hostside.probe import Target
from tandem.hostside.sqlite_copy import Copied, copy_data
from tandem.hostside.waiting import wait_ready

STOP_SECONDS: Final = 90.0
"""Longer than systemd gives the unit (TimeoutStopSec)."""
LOCK_SECONDS: Final = 300.0
POLL_SECONDS: Final = 0.1
ENDED: Final = ("inactive", "failed")


class NotStopped(Exception):
    """A unit still runs although it was told to stop. The message says what to do."""


@contextmanager
def only_one(paths: Paths, who: str, why: str, wait_seconds: float = 0) -> Iterator[None]:
    """Nobody else changes the WebUI meanwhile; the rest of the host may change. Raises LockHeld."""
    with locking.lock(_lock(paths), who, why, wait_seconds):
        yield


def busy(paths: Paths) -> str | None:
    """Who changes the WebUI now, as a phrase; None when nobody does."""
    return locking.holder(_lock(paths))


def folder(paths: Paths) -> Path:
    return paths.root / "var/lib/tandem/webui"


def data(slot: str, paths: Paths) -> Path:
    return folder(paths) / slot


def has_data(slot: str, paths: Paths) -> bool:
    return data(slot, paths).is_dir() and any(data(slot, paths).iterdir())


def load(paths: Paths) -> Record:
    """What an earlier switch left on record. Raises Refused for a record that can't be read."""
    path = _record(paths)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        trial = Trial(**found["trial"]) if found["trial"] is not None else None
        if not {found["copy"], found["before"]} <= {None, *SLOTS}:
            raise ValueError("copy or before is no slot")
        return Record(found["copy"], trial, found["before"], found["gap_seconds"])
    except FileNotFoundError:
        return Record()
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{path} is damaged: {error}. It was left untouched and nothing was changed. Move it aside, then run it "
            "again; the data of the slot that does not serve is kept then."
        ) from error


def save(record: Record, paths: Paths) -> None:
    folder(paths).mkdir(mode=0o711, parents=True, exist_ok=True)
    write_atomic(_record(paths), json.dumps(asdict(record), indent=2) + "\n", "0600", os.geteuid(), os.getegid())


def unit_text(slot: str, paths: Paths) -> str:
    """The unit file of a slot, "" when there is none."""
    try:
        return (paths.containers / f"{webui_unit(slot)}.container").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def unit_digest(slot: str, paths: Paths) -> str:
    return sha256(unit_text(slot, paths).encode()).hexdigest()


def said(slot: str, name: str, paths: Paths) -> str:
    """``Image``, or a variable of the environment, as the unit file of a slot has it; "" when it says nothing."""
    found = re.search(rf'^(?:Environment="?)?{name}=(.*?)"?$', unit_text(slot, paths), re.MULTILINE)
    return found[1] if found else ""


def parked(slot: str, paths: Paths) -> bool:
    return (paths.parked / webui_unit(slot)).exists()


def at_rest(slot: str, paths: Paths) -> bool:
    """Whether it does not run, and will not with a boot."""
    unit = units.show([webui_unit(slot)]).get(webui_unit(slot))
    known = unit is not None and unit.load != "not-found"
    return not known or (parked(slot, paths) and unit is not None and unit.active in ENDED)


def park(slot: str, paths: Paths) -> None:
    """It must not start, whoever asks for it, and not with a boot."""
    if not parked(slot, paths):
        paths.parked.mkdir(parents=True, exist_ok=True)
        write_atomic(paths.parked / webui_unit(slot), "", "0644", os.geteuid(), os.getegid())


def unpark(slot: str, paths: Paths) -> None:
    if parked(slot, paths):
        (paths.parked / webui_unit(slot)).unlink()
        sync_directory(paths.parked)


def stop(slot: str, paths: Paths) -> None:
    """Stopped for good when it returns. Raises NotStopped, or SubprocessError when systemd takes no order."""
    park(slot, paths)
    name = webui_unit(slot)
    known = units.show([name]).get(name)
    if known is not None and known.load == "not-found":
        return
    deadline = time.monotonic() + STOP_SECONDS
    units.stop(name)
    while (unit := units.show([name]).get(name)) and unit.active not in ENDED:
        if time.monotonic() > deadline:
            raise NotStopped(
                f"{name} still runs {STOP_SECONDS:.0f} s after it was told to stop: systemctl status {name}"
            )
        time.sleep(POLL_SECONDS)
    if unit is not None and unit.active == "failed":
        # One that was stopped while it started ends with an error; that is none.
        subprocess.run(["systemctl", "reset-failed", f"{name}.service"], capture_output=True, timeout=20, check=False)


def start(slot: str, seconds: float, paths: Paths, tell: Callable[[str], None]) -> float:
    """Until it answers; returns the seconds that took. Raises NotReady with its last log lines, or SubprocessError."""
    began = time.monotonic()
    unpark(slot, paths)
    units.start(webui_unit(slot))
    wait_ready([Target(webui_unit(slot), f"http://127.0.0.1:{WEBUI_PORT[slot]}")], "", seconds, paths, tell)
    return time.monotonic() - began


def copy(source: str, target: str, paths: Paths, tell: Callable[[str], None]) -> tuple[Copied, float]:
    """The data of one slot into the other, and the seconds that took; what served there before is kept beside.

    Raises NotCopied, or OSError with the path.
    """
    began = time.monotonic()
    clear(target, paths, tell)
    record = load(paths)
    save(replace(record, copy=target, before=None if record.before == target else record.before), paths)
    copied = copy_data(data(source, paths), data(target, paths))
    return copied, time.monotonic() - began


def carry_prompts(source: str, target: str, paths: Paths) -> None:
    """The record of offered prompts names the database that it is about: it holds for a whole copy as well."""
    path, there = paths.root / "var/lib/tandem/prompts.json", data(target, paths) / "webui.db"
    record = prompts.read(str(path))
    if record["database"] is not None and record["database"] == prompts.inode(str(data(source, paths) / "webui.db")):
        prompts.write({"database": str(there), "record": str(path)}, record["admin"], record["applied"])


def clear(slot: str, paths: Paths, tell: Callable[[str], None]) -> None:
    """Makes the place of a slot's data free: a copy that never served is removed, other data is moved to kept/."""
    there = data(slot, paths)
    if not has_data(slot, paths):
        return
    if load(paths).copy == slot:
        shutil.rmtree(there)
        return
    kept = folder(paths) / "kept" / f"{slot}-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    kept.parent.mkdir(mode=0o711, exist_ok=True)
    there.rename(kept)
    sync_directory(kept.parent)
    sync_directory(there.parent)
    tell(f"what served from {slot} before is kept in {kept}")


def check_room(source: str, target: str, paths: Paths) -> None:
    """Raises Refused when the copy does not fit; a copy that is there already makes room first."""
    there = folder(paths)
    free = shutil.disk_usage(there).free
    if load(paths).copy == target:
        free += size(data(target, paths))
    room(str(there), size(data(source, paths)), free)


def size(path: Path) -> int:
    """Bytes below a folder; what goes away meanwhile is not counted."""
    total = 0
    for _at, _folders, names, descriptor in os.fwalk(path):
        for name in names:
            try:
                total += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
    return total


def send_to(webui: Webui, action: str, who: str, paths: Paths) -> None:
    """Records where people are sent, and lets the router take it. If cut short, run it again: only what is due is done.

    Raises NotTaken or SubprocessError when the router did not; the record holds then. Refused when the lock is held.
    """
    with locking.lock(paths.lock, who, action, LOCK_SECONDS):
        before: State = states.load(paths.state)
        after = replace(before, webui=webui)
        repairs = {name: why for name, why in traffic.differing(after, paths).items() if name == "webui.conf"}
        if after == before and not repairs:
            return
        with states.recorded(paths, action, who, before, after):
            states.save(paths.state, after)
            traffic.render(after, repairs, paths)


def shown(paths: Paths) -> dict[str, Any]:
    """What there is in each slot, and what is on record."""
    slots = {
        slot: {
            "image": said(slot, "Image", paths),
            "unit": unit_digest(slot, paths) if unit_text(slot, paths) else None,
            "parked": parked(slot, paths),
            "data": has_data(slot, paths),
        }
        for slot in SLOTS
    }
    return {"slots": slots, "record": asdict(load(paths))}


def _lock(paths: Paths) -> Path:
    return paths.lock.with_name("tandem-webui.lock")


def _record(paths: Paths) -> Path:
    return folder(paths) / "switch.json"
