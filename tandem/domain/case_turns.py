"""Which comparison case is asked next. Pure."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tandem.domain.cases import Case
from tandem.domain.judge import CRITICAL_FAILURES


class Turns:
    """Every case once, in an order drawn from ``seed``, then all of them again; what was asked before is told to it.

    A critical case that failed on the new side only comes again at once: the judge believes the second time.
    """

    def __init__(self, cases: Sequence[Case], seed: str) -> None:
        self._cases = sorted(cases, key=lambda case: case.name)
        random.Random(seed).shuffle(self._cases)  # noqa: S311  repeatable, not secret
        self._asked: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._again = ""

    def count(self, pair: Mapping[str, Any]) -> None:
        """A pair of this step, as it stands in the file of samples."""
        name, old, new = pair["case"], pair.get("old"), pair["new"]
        self._asked[name] += 1
        lost = _fails(new) and old is not None and not _fails(old)
        self._lost[name] += lost
        again = lost and pair.get("critical") and self._lost[name] < CRITICAL_FAILURES
        self._again = name if again else ""

    def next(self, left_out: Collection[str] = ()) -> Case | None:
        """The next case; None when all are left out."""
        cases = [case for case in self._cases if case.name not in left_out]
        return min(cases, key=lambda case: (case.name != self._again, self._asked[case.name]), default=None)


def _fails(sample: Mapping[str, Any]) -> bool:
    return bool(sample.get("error") or sample.get("failed"))
