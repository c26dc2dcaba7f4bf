"""Backups of what people left on this host: made, proven, kept, told about. Runs on the host, as root.

A backup holds Open WebUI's database and files, the secrets, what is rendered, and the record of what serves. It is
encrypted to public keys; the host has no key that opens it. So the proof is made before: a scratch Open WebUI starts on
exactly the files that were encrypted, and of the encrypted file header and checksum are looked at. That the private key
is still in somebody's hands is proven only by deploys/restore.py with ``--data scratch=true``.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tandem.domain.backup import ENDING, expired, file_name, filled, size_text
from tandem.domain.refused import Refused
from tandem.hostside import backup_archive, notify
from tandem.hostside.backup_archive import NotSealed
from tandem.hostside.backup_person import NotProven
from tandem.hostside.backup_record import Settings, kept, moment, record, record_file, settings
from tandem.hostside.backup_staging import NoRoom, check_room, prove, staged
from tandem.hostside.failed import Failed
from tandem.hostside.files import sync_directory, write_atomic
from tandem.hostside.lock import lock
from tandem.hostside.paths import Paths
from tandem.hostside.sqlite_copy import NotCopied

LATEST: Final = f"latest{ENDING}"
UNPROVEN: Final = f"unproven{ENDING}"
"""One that no scratch Open WebUI has started on: better than none, but it takes the place of no good one."""
LATEST_SUM: Final = "latest.sha256"
LOCK_WAIT_SECONDS: Final = 30.0
TARGET_SECONDS: Final = 6 * 3600.0

Tell = Callable[[str], None]


class NotBackedUp(Failed):
    """There is no new good backup. The text says why, and what is left; the older ones stay as they are."""


def run(paths: Paths, who: str, tell: Tell) -> str:
    """Make a backup, prove it, copy it to its target, remove the expired ones; return how it went.

    Raises NotBackedUp, also when it was made and could not be proven or copied; Refused where none can be made.
    """
    now = _configured(paths)
    with lock(lock_file(paths), who, "make a backup", LOCK_WAIT_SECONDS):
        try:
            return _run(paths, now, tell)
        except (NotSealed, NotProven, NotCopied, NoRoom, NotBackedUp) as error:
            problem = str(error)
        except subprocess.SubprocessError as error:
            problem = f"{_program(error)} failed"
        except OSError as error:
            problem = f"{error.filename or 'system'}: {error.strerror}"
        _failed(paths, problem)
    raise NotBackedUp(f"{problem}. The older backups in {now.directory} were left as they are.")


def verify(paths: Paths, who: str, tell: Tell) -> str:
    """Look at the newest backup's header and checksum, and prove a copy of what there is now; changes nothing.

    Raises NotBackedUp.
    """
    now = _configured(paths)
    with lock(lock_file(paths), who, "verify the backups", LOCK_WAIT_SECONDS):
        newest = next(iter(kept(now)), None)
        if newest is None:
            raise NotBackedUp(f"there is no backup in {now.directory}: run tandemctl backup run")
        said = newest.with_name(f"{newest.name}.sha256").read_text(encoding="ascii").split()[0]
        if backup_archive.checksum(newest) != said:
            raise NotBackedUp(f"{newest} is damaged: it is not what its checksum says. Make another one now")
        tell(f"{newest.name}: its header and checksum are right")
        try:
            with staged(paths) as copy:
                proof = prove(paths, copy)
        except (NotProven, NotCopied, NoRoom) as error:
            raise NotBackedUp(str(error)) from None
    return f"{newest.name} is whole; of what there is now {proof}"


def lock_file(paths: Paths) -> Path:
    """Held by whoever makes, verifies or restores a backup."""
    return paths.root / "run/lock/tandem-backup.lock"


def _configured(paths: Paths) -> Settings:
    now = settings(paths)
    if now is None:
        raise Refused(
            "no backups are configured. Nothing was changed. Give backup/recipients in group_data (`age-keygen -o "
            "FILE` makes a key and prints its public half) and run install."
        )
    return now


def _run(paths: Paths, now: Settings, tell: Tell) -> str:
    now.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    now.directory.chmod(0o700)
    for left in now.directory.glob(f".*{ENDING}.*"):
        left.unlink()
    with staged(paths) as copy:
        manifest = copy.manifest
        tell(f"copied {size_text(manifest.size)}: {manifest.users} people, {manifest.chats} chats")
        check_room(now.directory, 1.05 * manifest.size)
        now_is = moment()
        path, unproven = now.directory / file_name(manifest.host, now_is.at), now.directory / UNPROVEN
        sealed = backup_archive.seal(manifest, copy.sources, now.recipients, unproven)
        tell(f"encrypted it ({size_text(sealed.size)})")
        try:
            proof = prove(paths, copy) if now.verify else ""
        except NotProven as error:
            raise NotProven(f"{error}. What was encrypted is kept as {unproven} until the next try") from None
    write_atomic(
        path.with_name(f"{path.name}.sha256"), f"{sealed.sha256}  {path.name}\n", "0600", os.geteuid(), os.getegid()
    )
    unproven.rename(path)
    _point(now.directory, path, sealed.sha256)
    # Before it is copied: a target that fails every day must not fill the disk.
    gone = [name for name in expired([one.name for one in kept(now)], now.keep) if name != path.name]
    for name in gone:
        (now.directory / name).unlink()
        (now.directory / f"{name}.sha256").unlink(missing_ok=True)
    if now.target:
        _send(now.target, path)
        tell(f"copied it by {now.target[0]}")
    good = {
        "at": now_is.at.isoformat(timespec="seconds"),
        "boot_id": now_is.boot_id,
        "boot_seconds": now_is.boot_seconds,
        "ok": True,
        "size": sealed.size,
        "sha256": sealed.sha256,
        "where": str(path),
        "users": manifest.users,
        "chats": manifest.chats,
        "proof": proof,
        "failed": "",
    }
    _save(paths, good)
    removed = f"; removed {len(gone)} expired" if gone else ""
    return f"{path}, {size_text(sealed.size)}: {proof or f'{manifest.users} people, {manifest.chats} chats'}{removed}"


def _send(words: tuple[str, ...], path: Path) -> None:
    """What the program says goes where ours goes: it is the operator's own."""
    try:
        done = subprocess.run(
            filled(words, str(path)), stdin=subprocess.DEVNULL, timeout=TARGET_SECONDS, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise NotBackedUp(
            f"{path} was made, but {words[0]} had not copied it in {TARGET_SECONDS / 3600:.0f} h"
        ) from None
    except OSError as error:
        raise NotBackedUp(f"{path} was made, but backup/target can't be run: {words[0]}: {error.strerror}") from None
    if done.returncode:
        raise NotBackedUp(f"{path} was made, but {words[0]} did not copy it (exit status {done.returncode})")


def _point(directory: Path, path: Path, sha256: str) -> None:
    """Lasting names for the newest one, so that it can be fetched."""
    temporary = directory / f".{LATEST}.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.name)
    temporary.rename(directory / LATEST)
    write_atomic(directory / LATEST_SUM, f"{sha256}  {path.name}\n", "0600", os.geteuid(), os.getegid())
    sync_directory(directory)


def _failed(paths: Paths, problem: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # on a full disk people are told all the same
        _save(paths, {**record(paths), "ok": False, "failed": problem, "failed_at": at})
    notify.tell("failed-backup", problem, paths)


def _save(paths: Paths, found: Mapping[str, Any]) -> None:
    write_atomic(record_file(paths), json.dumps(found, indent=2) + "\n", "0644", os.geteuid(), os.getegid())


def _program(error: subprocess.SubprocessError) -> str:
    command = getattr(error, "cmd", None)
    return str(command[0]) if isinstance(command, list) and command else "a command"
