"""The consistent copy that a backup is made from, and the proof that it can be used. Runs on the host, as root."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tandem.domain.backup import DATABASE, SECRETS, WEBUI, Manifest, size_text
from tandem.domain.refused import Refused
from tandem.domain.slots import webui_unit
from tandem.hostside import backup_archive, backup_scratch, backup_sources, sqlite_copy, state
from tandem.hostside.backup_record import work_folder
from tandem.hostside.backup_scratch import Webui
from tandem.hostside.paths import Paths

SLACK_BYTES: Final = 256 << 20
INCOMING_SECONDS: Final = 24 * 3600
"""What was uploaded for a restore that never came is removed after so long."""


class NoRoom(Exception):
    """A disk has not enough free space. The text has the numbers; nothing was changed."""


@dataclass(frozen=True)
class Staged:
    """A consistent copy of everything, for root alone: the files by their names in the archive."""

    folder: Path
    manifest: Manifest
    sources: Mapping[str, Path]


@contextmanager
def staged(paths: Paths) -> Iterator[Staged]:
    """A consistent copy of what a backup holds, removed afterwards. The caller holds the lock of backups."""
    serving = state.load(paths.state)
    if serving.webui is None or serving.current is None:
        raise Refused("nothing serves yet, so there is nothing to save. Run install.")
    sweep(paths)
    data = paths.root / "var/lib/tandem/webui" / serving.webui.slot
    check_room(work_folder(paths), 1.1 * backup_sources.size(data))
    folder = work_folder(paths) / f"staging-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o711)
    try:
        private = folder / "private"
        private.mkdir(mode=0o700)
        copied = sqlite_copy.copy_data(data, folder / WEBUI)
        rows = sqlite_copy.count(folder / DATABASE, ("user", "chat"))
        sources = {
            **backup_sources.below(folder / WEBUI, WEBUI),
            **backup_sources.copied(paths, private),
        }
        manifest = Manifest(
            host=os.uname().nodename,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            tandem=os.path.basename(os.path.realpath(paths.root / "usr/local/lib/tandem/current")),
            image=webui_of(paths, serving.webui.slot).image,
            release=serving.current.release,
            users=rows["user"],
            chats=rows["chat"],
            files={name: backup_archive.describe(path) for name, path in sorted(sources.items())},
        )
        if copied.left_out:
            print(f"left out, because they are no plain files: {len(copied.left_out)}")
        yield Staged(folder, manifest, sources)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(paths: Paths) -> None:
    """Remove what a run that was cut short left behind: copies, half written files, a scratch Open WebUI."""
    work = work_folder(paths)
    work.mkdir(mode=0o711, parents=True, exist_ok=True)
    work.chmod(0o711)
    for left in work.glob("staging-*"):
        if any(left.rglob(f"{backup_scratch.PREFIX}-*.env")):
            backup_scratch.end_all()
        shutil.rmtree(left, ignore_errors=True)
    for left in work.glob("incoming-*"):
        if time.time() - left.stat().st_mtime > INCOMING_SECONDS:
            left.unlink(missing_ok=True)


def prove(paths: Paths, copy: Staged) -> str:
    """A sentence of what a scratch Open WebUI showed. It changes the copy. Raises NotProven."""
    serving = state.load(paths.state)
    if serving.webui is None:
        raise Refused("nothing serves any more. Nothing was changed.")
    names = ("webui_admin_password", "webui_secret_key")
    keys = {name: copy.sources[f"{SECRETS}/{name}"].read_text(encoding="ascii").strip() for name in names}
    webui, private = webui_of(paths, serving.webui.slot), copy.folder / "private"
    return backup_scratch.prove(
        webui, copy.folder / WEBUI, keys, private, copy.manifest.users, copy.manifest.chats
    ).sentence


def webui_of(paths: Paths, slot: str) -> Webui:
    """How the Open WebUI of a slot is run. Raises NotProven for a unit file that does not say."""
    unit = paths.containers / f"{webui_unit(slot)}.container"
    return backup_scratch.unit_of(unit.read_text(encoding="utf-8"))


def check_room(folder: Path, size: float) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SLACK_BYTES:
        raise NoRoom(f"{folder} has {size_text(free)} free; {size_text(int(size) + SLACK_BYTES)} are needed there")
