"""One lock for everything that changes what a host serves.

The kernel holds it (flock), so it ends with its holder, however that dies. What the file says only names the holder.
"""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tandem.domain.refused import Refused

POLL_SECONDS = 0.1
LEAST_WAIT_SECONDS = 0.2
"""``holder`` takes a free lock for a moment; nobody is refused because of that."""


class LockHeld(Refused):
    """Somebody else is changing the host."""


@contextmanager
def lock(path: Path, who: str, why: str, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock for the block; wait up to ``wait_seconds`` for it, then raise LockHeld, which names the holder.

    The lock is not inherited by commands that the block starts.
    """
    descriptor = _open(path)
    try:
        _take(descriptor, path, time.monotonic() + max(wait_seconds, LEAST_WAIT_SECONDS))
        holder = {
            "who": who,
            "why": why,
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _write(descriptor, json.dumps(holder))
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """Who holds the lock now, as a phrase; None when it is free."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(descriptor)
    finally:
        os.close(descriptor)
    return None


def _open(path: Path) -> int:
    """Open the lock file, made if missing. Every user can write to /run/lock: a file that is not ours is no lock."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            path.unlink()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise Refused(f"{path} belongs to another user. Nothing was changed. Remove that file, then try again.")
    return descriptor


def _take(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"{path} is held by {_describe(descriptor)}. Nothing was changed. "
                    "Wait until that has ended, then run the same command again."
                ) from None
            time.sleep(POLL_SECONDS)


def _describe(descriptor: int) -> str:
    try:
        held = json.loads(os.pread(descriptor, 4096, 0))
        return f"{held['who']} (process {held['pid']}, since {held['since']}), to {held['why']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said its name yet"


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    # The lock is held all the same: on a full disk only the holder's name is missing.
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, text.encode(), 0)
