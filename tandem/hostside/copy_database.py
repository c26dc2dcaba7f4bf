"""A program: copies an SQLite database that may be in use. Arguments: source, target (new), seconds of small steps.

It runs as the database's owner, never as root: it opens what that owner can write. Standard library only, no module of
ours: its text is given to python3. Exit status 0, or 1 with one line on standard error.
"""

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path

STEP_PAGES = 1000
PAUSE_SECONDS = 0.005
BUSY_SECONDS = 60.0


class Overrun(Exception):
    """Writers restarted the copy for too long."""


def copy(source: Path, target: Path, step_seconds: float) -> None:
    """Raises sqlite3.Error or ValueError; what was written to ``target`` is worth nothing then.

    Small steps let writers in between, but each write of another process starts the copy anew; after ``step_seconds``
    the rest is one step, for which writers wait.
    """
    deadline = time.monotonic() + step_seconds

    def watch(_status: int, remaining: int, _total: int) -> None:
        if remaining and time.monotonic() > deadline:
            raise Overrun

    # Not read-only: what a killed writer left behind is settled by whoever opens the database next.
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as there,
        contextlib.closing(sqlite3.connect(target, timeout=BUSY_SECONDS)) as here,
    ):
        try:
            there.backup(here, pages=STEP_PAGES, progress=watch, sleep=PAUSE_SECONDS)
        except Overrun:
            there.backup(here, pages=-1, sleep=PAUSE_SECONDS)
        # One file that needs no companions, whatever the source's mode is.
        here.execute("PRAGMA journal_mode=DELETE")
        here.execute("PRAGMA trusted_schema=OFF")
        found = [row[0] for row in here.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise ValueError(f"the copy is damaged: {found[0]}")


def main() -> int:
    os.umask(0o077)
    try:
        copy(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    except (sqlite3.Error, ValueError, OSError) as error:
        print(str(error).splitlines()[0] if str(error) else type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
