"""Who used this machine's processors: a figure that was measured beside a busy neighbour says little."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Seconds of processor time so far: by this process group with everything that it started, and by everybody."""

    ours: float
    all: float

    def since(self, before: "Used", seconds: float) -> str:
        """Processors busy on average over these seconds."""
        ours, everybody = (self.ours - before.ours) / seconds, (self.all - before.all) / seconds
        return f"{ours:.2f}, {max(0.0, everybody - ours):.2f} of {os.cpu_count()}"


def used() -> Used:
    group, ours = os.getpgrp(), 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            # Its own user and system time, and that of children which it has waited for.
            ours += sum(int(field) for field in fields[11:15])
    user, nice, system, _, _, interrupt, soft, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    everybody = sum(int(field) for field in (user, nice, system, interrupt, soft))
    return Used(ours / TICKS_PER_SECOND, everybody / TICKS_PER_SECOND)
