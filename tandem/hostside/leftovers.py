"""What a write that was cut short left beside the file that it was to replace."""

import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import Final

from tandem.hostside.paths import Paths

OLD_SECONDS: Final = 60.0
"""No write takes so long."""
# As files.write_atomic, reserve.lay_in and sight.write_sight name them.
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{8}\.new|\.reserve\.new|\.guard\.json\.new")


def remove(paths: Paths) -> list[Path]:
    """Removes it from the folders that only Tandem's own programs write; returns what was removed. Raises nothing."""
    gone = []
    for folder in sorted({paths.state.parent, paths.split, paths.parked, paths.guard_sight.parent}):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        gone += [folder / name for name in names if _TEMPORARY.fullmatch(name) and _removed(folder / name)]
    return gone


def _removed(path: Path) -> bool:
    try:
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid() or time.time() - seen.st_mtime < OLD_SECONDS:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        print(f"{path}, left by a write that was cut short, stays: {error.strerror}", file=sys.stderr, flush=True)
        return False
    return True
