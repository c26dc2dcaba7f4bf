"""How long engines take from their start to their first completion, as seen by one who waits for that."""

from collections.abc import Mapping
from typing import Final

from tandem.hostside import carry
from tandem.hostside.engines import process_starts
from tandem.hostside.paths import Paths
from tandem.hostside.probe import CLOSED, Answer

MOST_BLIND_SECONDS: Final = 10.0
"""Between an answer that was no completion and the question that got one: after more it is not known when it could."""


class Starts:
    """Measures a process that was found with its port closed. Of one that completes a request the first time that it is
    asked nobody knows since when it could.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._loading: dict[str, tuple[float, float]] = {}

    def note(self, answers: Mapping[str, Answer], asked: float) -> None:
        """What engines answered by unit; ``asked``: when, by the monotonic clock. Raises OSError if the starts can't be
        written down.
        """
        began = process_starts(answers) if answers else {}
        measured = {}
        for unit, answer in answers.items():
            start, ended, before = began.get(unit), asked + answer.seconds, self._loading.pop(unit, None)
            if start is None or start > asked:
                continue
            last = before[1] if before and before[0] == start else None
            if not answer.ready and (last is not None or answer.why == CLOSED):
                self._loading[unit] = (start, ended)
            elif answer.ready and last is not None and asked - last <= MOST_BLIND_SECONDS:
                measured[unit] = ended - start
        if measured:
            carry.note_starts(measured, self._paths)
