"""What the guard sees now, for readers: /run/tandem/guard.json."""

import json
import os
import time
from typing import Any

from tandem.hostside.paths import Paths


def boot_seconds() -> float:
    """Seconds since boot, sleep included; nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_sight(sight: dict[str, Any], paths: Paths) -> None:
    """Replaced at once; not made durable, a boot forgets it anyhow."""
    path = paths.guard_sight
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps({"boot_seconds": round(boot_seconds(), 3), **sight}) + "\n", encoding="utf-8")
    os.chmod(temporary, 0o644)
    temporary.rename(path)


def read_sight(paths: Paths) -> dict[str, Any] | None:
    """None when no guard has said anything since the boot."""
    try:
        found = json.loads(paths.guard_sight.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def guard_age_seconds(paths: Paths) -> float | None:
    """How long ago the guard looked; None when it never did."""
    seen = read_sight(paths)
    return round(boot_seconds() - seen["boot_seconds"], 1) if seen and "boot_seconds" in seen else None
