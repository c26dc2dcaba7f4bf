"""A backup brought back to this host: users, chats and files of Open WebUI, and the secrets that people know. As root.

Nothing that serves is touched before the backup's data has started here once, in a scratch Open WebUI without a
network. What it replaces is kept aside, never removed. Engines, rendered files and the record of what serves are this
host's own: install makes them, and what a backup holds of them is for reading.
"""

import secrets as chance
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tandem.domain.backup import SECRETS, WEBUI, Manifest, Spoilt, size_text
from tandem.domain.refused import Refused
from tandem.domain.rollout import State
from tandem.domain.slots import UIDS, webui_unit
from tandem.domain.webui_switch import CLOSED
from tandem.hostside import (
    ask_webui,
    backup_archive,
    backup_scratch,
    restore_key,
    restore_parts,
    sqlite_copy,
    state,
    webui_slots,
)
from tandem.hostside.backup import lock_file
from tandem.hostside.backup_person import NotProven
from tandem.hostside.backup_record import work_folder
from tandem.hostside.backup_scratch import Webui
from tandem.hostside.backup_staging import NoRoom, check_room, sweep, webui_of
from tandem.hostside.failed import Failed
from tandem.hostside.lock import lock
from tandem.hostside.paths import Paths
from tandem.hostside.sqlite_copy import NotCopied

LOCK_WAIT_SECONDS: Final = 30.0
READY_SECONDS: Final = 300.0
UNIT_SECONDS: Final = 180.0
TABLES: Final = ("user", "chat")
CHANGED: Final = "what serves has changed meanwhile. Nothing was changed. Run it again."

Tell = Callable[[str], None]


class NotRestored(Failed):
    """The backup was not taken over. The text says why, and what serves now."""


@dataclass(frozen=True)
class Taken:
    """A backup taken out, with its data as Open WebUI wants it; ``secrets``: the folder of its secrets."""

    data: Path
    secrets: Path
    private: Path
    manifest: Manifest


def look(paths: Paths) -> dict[str, Any]:
    """{"slot": of the WebUI that serves, None before install; "users", "chats": what is there, None if unreadable;
    "busy": what is under way, "" if nothing is}.
    """
    now = state.load(paths.state)
    if now.webui is None:
        return {"slot": None, "users": 0, "chats": 0, "busy": ""}
    rows: dict[str, Any] = {"user": None, "chat": None}
    with suppress(NotCopied):
        rows = _rows(_live(paths, now))
    busy = f"a rollout is {now.phase}" if now.phase != "idle" else ""
    if now.webui.port == CLOSED or webui_slots.busy(paths):
        busy = "Open WebUI is being switched to another version"
    return {"slot": now.webui.slot, "users": rows["user"], "chats": rows["chat"], "busy": busy}


def restore(
    paths: Paths,
    archive: Path,
    identity: str,
    who: str,
    tell: Tell,
    *,
    token: str = "",
    replace: bool = False,
    scratch: bool = False,
) -> str:
    """Bring ``archive`` back; return how it went.

    ``identity``: the text of an age key file; "": the key that was made for ``token``. ``replace``: consent to
    put users' data that is here aside. ``scratch``: only try it, in a scratch Open WebUI.
    Raises Refused (nothing was changed) and NotRestored.
    """
    with lock(lock_file(paths), who, "restore a backup", LOCK_WAIT_SECONDS):
        now = _checked(paths, replace or scratch)
        identity = identity or restore_key.kept(paths, token)
        try:
            sweep(paths)
            check_room(work_folder(paths), 1.1 * archive.stat().st_size)
            with _taken(paths, now, archive, identity, tell) as taken:
                slot = now.webui.slot if now.webui else ""
                proof = _proven(paths, webui_of(paths, slot), taken)
                tell(proof)
                if scratch:
                    return f"{archive.name} of {taken.manifest.host}, {taken.manifest.at}: {proof}. Nothing was changed"
                # Before the lock, because it asks whether somebody else holds this one.
                if _checked(paths, replace) != now:
                    raise Refused(CHANGED)
                with (
                    webui_slots.only_one(paths, who, "restore a backup"),
                    lock(paths.lock, who, "restore a backup", LOCK_WAIT_SECONDS),
                ):
                    if state.load(paths.state) != now:
                        raise Refused(CHANGED)
                    with state.recorded(paths, "restore", who, now, now):
                        return _switch(paths, slot, now, taken, tell)
        except NoRoom as error:
            raise Refused(f"{error}. Nothing was changed. Make room, then run it again.") from None
        except (NotProven, NotCopied, Spoilt) as error:
            raise Refused(f"{archive.name} can't serve here: {error}. Nothing was changed.") from None
        finally:
            restore_key.file(paths, token).unlink(missing_ok=True)


def _checked(paths: Paths, replace: bool) -> State:
    here = look(paths)
    if here["slot"] is None:
        raise Refused("nothing serves yet. Nothing was changed. Run deploys/install.py, then restore.")
    if here["busy"]:
        raise Refused(f"{here['busy']}. Nothing was changed. Finish it or roll it back, then restore.")
    if not replace and (here["users"] is None or here["users"] > 1 or here["chats"]):
        found = "data that can't be read" if here["users"] is None else f"{here['users']} people, {here['chats']} chats"
        raise Refused(
            f"Open WebUI has users' data here ({found}). Nothing was changed. To put it aside and take the backup's, "
            "consent with --data replace=true (on the host: --replace)."
        )
    return state.load(paths.state)


@contextmanager
def _taken(paths: Paths, now: State, archive: Path, identity: str, tell: Tell) -> Iterator[Taken]:
    folder = work_folder(paths) / f"staging-{chance.token_hex(6)}"
    folder.mkdir(mode=0o711)
    try:
        private = folder / "private"
        private.mkdir(mode=0o700)
        manifest = backup_archive.unseal(archive, identity, private)
        tell(
            f"decrypted the backup of {manifest.host}, {manifest.at}: {size_text(manifest.size)}, "
            f"{manifest.users} people, {manifest.chats} chats"
        )
        restore_parts.own(private / WEBUI, manifest, UIDS["tandem-webui"])
        (private / WEBUI).rename(folder / WEBUI)
        slot = now.webui.slot if now.webui else ""
        restore_parts.adapt(folder / WEBUI / "webui.db", private, paths.upstream_key, webui_of(paths, slot).environment)
        yield Taken(folder / WEBUI, private / SECRETS, private, manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _proven(paths: Paths, webui: Webui, taken: Taken) -> str:
    names = ("webui_admin_password", "webui_secret_key")
    keys = {name: restore_parts.secret(taken.secrets, name) for name in names}
    rows = (taken.manifest.users, taken.manifest.chats)
    return backup_scratch.prove(webui, taken.data, keys, taken.private, *rows).sentence


def _switch(paths: Paths, slot: str, now: State, taken: Taken, tell: Tell) -> str:
    """Old and new change places in one rename each; whatever fails, the old ones serve again."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    live = _live(paths, now)
    aside = live.with_name(f"{slot}.before-{stamp}")
    old_secrets = work_folder(paths) / f"secrets.before-{stamp}"
    subprocess.run(["cp", "--archive", "--", str(paths.secrets), str(old_secrets)], check=True, timeout=60)
    users = live.stat().st_ino
    taken.data.rename(aside)  # from here on no sweep removes it: it may be the users' data in a moment
    unit = f"{webui_unit(slot)}.service"
    try:
        _systemctl("stop", unit)
        restore_parts.exchange(aside, live)
        left = restore_parts.put_secrets(paths, taken.secrets)
        _systemctl("start", unit)
        seen = _serves(paths, now, taken.manifest)
    except BaseException as error:
        with suppress(subprocess.SubprocessError):
            _systemctl("stop", unit)
        # Asked, not remembered: an interrupt may come between the exchange and any note of it.
        if live.stat().st_ino != users:
            restore_parts.exchange(aside, live)
        try:
            restore_parts.put_back(paths, old_secrets)
        finally:
            _systemctl("start", unit)
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, Exception):
            raise NotRestored(f"{_words(error)}. The data and secrets from before serve again.") from None
        raise
    for line in left:
        tell(line)
    return (
        f"restored {taken.manifest.users} people and {taken.manifest.chats} chats of {taken.manifest.host}, "
        f"{taken.manifest.at}; {seen}. What was here before: {aside} and {old_secrets}, yours to remove"
    )


def _serves(paths: Paths, now: State, manifest: Manifest) -> str:
    """What the Open WebUI that serves now shows. Raises NotRestored."""
    port = now.webui.port if now.webui else 0
    password = restore_parts.secret(paths.secrets, "webui_admin_password")
    email = webui_of(paths, now.webui.slot if now.webui else "").email
    order = {"port": port, "email": email, "password": password, "chat": "", "seconds": READY_SECONDS}
    seen = ask_webui.look(order)
    if seen["seconds"] is None:
        raise NotRestored(seen["problem"])
    rows = _rows(_live(paths, now))
    # More is no loss: people are let in as soon as it has started.
    if rows["user"] < manifest.users or rows["chat"] < manifest.chats:
        raise NotRestored(f"Open WebUI has {rows['user']} people and {rows['chat']} chats after its start")
    return (
        "the administrator signed in" if seen["signed_in"] else "the administrator's password is one set in Open WebUI"
    )


def _live(paths: Paths, now: State) -> Path:
    return paths.root / "var/lib/tandem/webui" / (now.webui.slot if now.webui else "")


def _rows(data: Path) -> dict[str, int]:
    return sqlite_copy.count(data / "webui.db", TABLES) if (data / "webui.db").exists() else dict.fromkeys(TABLES, 0)


def _systemctl(verb: str, unit: str) -> None:
    subprocess.run(
        ["systemctl", verb, unit], stdin=subprocess.DEVNULL, capture_output=True, timeout=UNIT_SECONDS, check=True
    )


def _words(error: Exception) -> str:
    if isinstance(error, subprocess.SubprocessError):
        command = getattr(error, "cmd", None)
        return f"{' '.join(command) if isinstance(command, list) else 'a command'} failed"
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror}"
    return str(error).rstrip(".")
