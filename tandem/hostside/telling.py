"""How far a long download is, said every few seconds."""

import contextlib
import threading
import time
from collections import deque
from types import TracebackType

from tandem.domain.weights import progress

TELL_EVERY_SECONDS = 5.0
REMEMBERED = 7
"""The speed is that of the last half minute."""


def tell(line: str) -> None:
    """An operator who is gone must not end a download halfway: nobody listening is no error."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Progress:
    """Counts bytes, from any thread; while it is entered, a line is printed now and then."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _tell(self) -> None:
        seen = deque([(time.monotonic(), self.done)], maxlen=REMEMBERED)
        while not self._ended.wait(TELL_EVERY_SECONDS):
            seen.append((time.monotonic(), self.done))
            seconds, came = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
            tell(progress(self.done, self.total, max(0.0, came / seconds)))
