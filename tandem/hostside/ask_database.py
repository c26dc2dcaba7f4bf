"""A program: runs statements in an SQLite database, as its owner. Argument: the database. Standard input: JSON,
[[statement, [values]], ...]; standard output: the rows of each, as JSON.

Standard library only, no module of ours: its text is given to python3. Exit status 0, or 1 with one line on standard
error; nothing was changed then.
"""

import contextlib
import json
import sqlite3
import sys
from pathlib import Path

BUSY_SECONDS = 60.0


def main() -> int:
    try:
        address = f"{Path(sys.argv[1]).as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as there, there:
            there.execute("PRAGMA trusted_schema=OFF")
            rows = [there.execute(statement, values).fetchall() for statement, values in json.load(sys.stdin)]
    except (sqlite3.Error, ValueError, OSError) as error:
        print(str(error).splitlines()[0] if str(error) else type(error).__name__, file=sys.stderr)
        return 1
    json.dump(rows, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
