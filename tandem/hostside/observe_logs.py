"""Runs on the host as root, standard library only: did the journal's service start before its settings were written?

Input: one JSON argument, the path of the settings.
Output: one JSON line {"written": seconds since 1970 or null, "started": seconds since 1970 or null}.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

UNIT = "systemd-journald.service"


def written(path: str) -> float | None:
    """When the content was written; a changed mode does not count."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def started() -> float | None:
    command = ["systemctl", "show", "--value", "--timestamp=us+utc", "--property=ExecMainStartTimestamp", UNIT]
    environment = {**os.environ, "LC_ALL": "C"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()
    if not shown:
        return None
    return datetime.strptime(shown, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()


if __name__ == "__main__":
    print(json.dumps({"written": written(json.loads(sys.argv[1])), "started": started()}))
