"""Users' requests by slot, as the engine router logs them: it is not one of the two that are compared."""

import json
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.domain.paired import Traffic
from tandem.hostside.asking import run

TAG: Final = "tandem_router"
INFERENCE: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
MOST_TIMES: Final = 200
CURSOR: Final = "-- cursor: "


@dataclass
class Counted:
    """Requests of one slot. ``seconds``: that the latest answers took, to their end."""

    requests: int = 0
    failures: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_TIMES))

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.requests, self.failures)

    @property
    def typical_seconds(self) -> float | None:
        return round(statistics.median(self.seconds), 3) if self.seconds else None


class RouterLog:
    """Counts what was logged since ``begin``."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.counted: dict[str, Counted] = {}

    def begin(self) -> None:
        """Counts from here on."""
        self.read()
        self.counted = {}

    def skip(self) -> None:
        """Leaves out what was logged since the last look."""
        counted, self.counted = self.counted, {}
        self.read()
        self.counted = counted

    def read(self) -> None:
        """Takes in what was logged since the last look."""
        since = ["--after-cursor", self.cursor] if self.cursor else ["--lines=0"]
        status, text = run("journalctl", "--quiet", "--output=cat", "--show-cursor", "--identifier", TAG, *since)
        if status:
            # A cursor that was rotated away: begin anew at the end, with what was counted so far.
            self.cursor = None
            return
        lines = text.splitlines()
        if lines and lines[-1].startswith(CURSOR):
            self.cursor = lines.pop().removeprefix(CURSOR)
        self.count(lines)

    def count(self, lines: Iterable[str]) -> None:
        for line in lines:
            try:
                entry = json.loads(line)
                slot, failed, seconds = _attempt(entry)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if slot:
                counted = self.counted.setdefault(slot, Counted())
                counted.requests += 1
                counted.failures += failed
                if seconds is not None:
                    counted.seconds.append(seconds)

    def of(self, slot: str) -> Counted:
        return self.counted.get(slot, Counted())


def _attempt(entry: dict[str, Any]) -> tuple[str, bool, float | None]:
    """Slot, whether its own engine failed, and how long the answer took; ("", ...) for what no engine was asked.

    A list of upstreams is one request that another engine answered in the end: the first one failed it.
    """
    statuses = [word for word in str(entry["upstream_status"]).replace(",", " ").split() if word.isdecimal()]
    if entry["method"] != "POST" or entry["route"] not in INFERENCE or not statuses:
        return "", False, None
    times = [word for word in str(entry["upstream_seconds"]).replace(",", " ").split() if word != "-"]
    failed = int(statuses[0]) >= 500
    return entry["slot"], failed, None if failed or not times else float(times[0])
