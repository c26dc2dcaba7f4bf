"""What is in a database of Open WebUI: how many users and chats, and when each chat was last changed.

Root opens nothing that Open WebUI could have put in its place: the database is read by a process of its owner, which is
given the text of this file. It imports no module of ours.
"""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
BUSY_SECONDS = 30.0
TIMEOUT_SECONDS = 120.0


class NotRead(Exception):
    """A database could not be counted. The message names it and says why; nothing was changed in it."""


@dataclass(frozen=True)
class Content:
    """``chats``: {id: time of the last change}."""

    users: int
    chats: dict[str, int]

    @property
    def counts(self) -> dict[str, int]:
        return {"users": self.users, "chats": len(self.chats)}


def content(data: Path) -> Content:
    """Of the database in this data directory. Others may use it meanwhile. Raises NotRead."""
    database = data / "webui.db"
    try:
        owner = database.lstat()
        drop = os.geteuid() == 0 and owner.st_uid != 0
        done = subprocess.run(
            [SYSTEM_PYTHON if drop else sys.executable, "-I", "-c", Path(__file__).read_text(), str(database)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            timeout=TIMEOUT_SECONDS,
            check=False,
            user=owner.st_uid if drop else None,
            group=owner.st_gid if drop else None,
            extra_groups=[] if drop else None,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise NotRead(f"{database} can't be counted: {said[0]}")
        found = json.loads(done.stdout)
        return Content(found["users"], found["chats"])
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise NotRead(f"{database} can't be counted: {type(error).__name__}") from error


def _main(database: str) -> None:
    os.umask(0o077)
    # Not read-only: what a killed writer left behind is settled by whoever opens the database next.
    address = f"{Path(database).as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as there:
        (users,) = there.execute("SELECT count(*) FROM user").fetchone()
        chats = dict(there.execute("SELECT id, coalesce(updated_at, 0) FROM chat").fetchall())
    print(json.dumps({"users": users, "chats": chats}))


if __name__ == "__main__":
    _main(sys.argv[1])
