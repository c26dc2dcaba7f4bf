"""The file of a rollout's samples: one JSON line for each pair of answers, and for the cases that were left out."""

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tandem.hostside.files import append_line

LONGEST_LINE_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 4 << 20


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line and wait until it is on disk. Raises OSError."""
    append_line(path, json.dumps(record))


class Reader:
    """What the file holds, read on from where the last look ended. It may be missing, or end in half a line.

    ``damaged`` counts the lines that are no sample. The one that writes the file is not trusted by who reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, 0
        self._offset = self._least = 0
        self._pairs: dict[int, list[dict[str, Any]]] = {}
        self._skipped: dict[int, list[str]] = {}

    def step(self, number: int) -> list[dict[str, Any]]:
        """The pairs of a step so far, oldest first. What is known of smaller steps is forgotten.

        Raises OSError for what is there and is no readable file.
        """
        self._least = number
        self._read_on()
        for known in (self._pairs, self._skipped):
            for old in [step for step in known if step < number]:
                del known[old]
        return list(self._pairs.get(number, ()))

    def skipped(self, number: int) -> list[str]:
        """The cases that were left out in a step, as ``step`` last read: they are longer than an engine's context."""
        return self._skipped.get(number, [])

    def _read_on(self) -> None:
        with suppress(FileNotFoundError), open(self.path, "rb", opener=warily) as file:
            seen = os.fstat(file.fileno())
            if not stat.S_ISREG(seen.st_mode):
                raise OSError(f"{self.path} is not a file. It was left untouched; move it away.")
            if seen.st_size < self._offset:
                self._offset = 0
                self._pairs, self._skipped = {}, {}
            more = True
            while more:
                file.seek(self._offset)
                more = self._block(file.read(_BLOCK_BYTES))

    def _block(self, block: bytes) -> bool:
        """Take the whole lines of ``block``; False when there is no more to take now."""
        whole, end, rest = block.rpartition(b"\n")
        if not end:
            if len(rest) <= LONGEST_LINE_BYTES:
                return False
            self._offset += len(rest)
            self.damaged += 1
            return True
        self._offset += len(whole) + 1
        for line in whole.split(b"\n"):
            if line and not self._take(line):
                self.damaged += 1
        return True

    def _take(self, line: bytes) -> bool:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(record, dict) or type(number := record.get("step")) is not int:
            return False
        if number < self._least:
            return True
        skipped = record.get("skipped")
        if isinstance(skipped, list):
            self._skipped[number] = [str(name) for name in skipped]
            return True
        if not (isinstance(record.get("case"), str) and isinstance(record.get("new"), dict)):
            return False
        if not isinstance(record.get("old", 0), dict | None):
            return False
        self._pairs.setdefault(number, []).append(record)
        return True


def warily(path: str, flags: int) -> int:
    """Neither led elsewhere by a link nor kept waiting by a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
