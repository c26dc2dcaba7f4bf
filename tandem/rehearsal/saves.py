"""Saved states of rehearsal hosts: tests need many starting points, and installing takes minutes."""

import re
from pathlib import Path

from tandem.rehearsal import machine
from tandem.rehearsal.host import assemble, boot, folder, load, stop
from tandem.rehearsal.rootfs import Host, copy, identify
from tandem.rehearsal.shell import RehearsalError, remove_tree


def save(state: Path, name: str, save_name: str) -> None:
    """Saves a host's root and disk as SAVE_NAME, over an older save of that name. One that runs is off meanwhile."""
    here, target = folder(state, name), _place(state, save_name)
    load(state, name)
    runs = machine.running(state.resolve(), name)
    if runs:
        stop(state, name)
    new = target.with_name(f".new-{save_name}")
    remove_tree(new)
    new.mkdir(parents=True, mode=0o700)
    copy(here / "root", new / "root")
    if (here / "nvme.img").exists():
        copy(here / "nvme.img", new / "nvme.img")
    remove_tree(target)
    new.rename(target)
    if runs:
        boot(state, name)


def start_from(state: Path, name: str, save_name: str) -> Host:
    """Boots host NAME as it was saved, with its own name, keys and address. What the host held before is gone."""
    here, source = folder(state, name), _place(state, save_name)
    if not (source / "root").is_dir():
        known = ", ".join(saves(state)) or "none"
        raise RehearsalError(f"no save {save_name} in {source.parent} (there: {known}); nothing was changed")
    disk = source / "nvme.img"
    if not (here / "host.json").exists():
        assemble(state, name, source / "root", disk if disk.exists() else None, blank=None)
        return boot(state, name)
    machine.kill(state.resolve(), name)
    for part in ("root", "nvme.img"):
        remove_tree(here / f"{part}.new")
        if (source / part).exists():
            copy(source / part, here / f"{part}.new")
    for part in ("root", "nvme.img"):
        remove_tree(here / part)
        if (here / f"{part}.new").exists():
            (here / f"{part}.new").rename(here / part)
    identify(here, load(state, name))
    return boot(state, name)


def saves(state: Path) -> list[str]:
    """The saves of a state folder."""
    return sorted(path.name for path in (state / "saves").glob("[a-z0-9]*") if path.is_dir())


def _place(state: Path, save_name: str) -> Path:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,60}", save_name):
        raise RehearsalError(f"save name {save_name!r}: lower-case letters, digits, '.', '_' and '-' only")
    return state.resolve() / "saves" / save_name
