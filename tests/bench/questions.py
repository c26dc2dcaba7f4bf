"""Questions whose answers are known word by word, so that a token that was lost, repeated or overtaken shows."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Final

from tandem.rehearsal.access import QUESTIONS

LOST: Final = "lost"
REPEATED: Final = "repeated"
OVERTAKEN: Final = "overtaken"
ANOTHER: Final = "another answer"
CORRUPTED: Final = (LOST, REPEATED, OVERTAKEN, ANOTHER, "malformed")


@dataclass(frozen=True)
class Question:
    """``tokens``: the most that an answer may take; an engine at a fixed pace gives exactly so many."""

    prompt: str
    answer: str
    tokens: int

    def wrong(self, text: str) -> str:
        """What happened to the words of the answer; "" when they are all there, once and in order."""
        wanted, came = self.answer.split(), text.split()
        if came == wanted:
            return ""
        more, fewer = Counter(came) - Counter(wanted), Counter(wanted) - Counter(came)
        if more.keys() - set(wanted):
            return ANOTHER
        return REPEATED if more else LOST if fewer else OVERTAKEN


def counting(tokens: int) -> list[Question]:
    """For the engine of ``tests.bench.pace``."""
    return [Question("count", "".join(f"{number} " for number in range(tokens)), tokens)]


def rehearsal() -> list[Question]:
    """What the model of the rehearsal hosts has learnt."""
    return [Question(row["question"], row["answer"], 256) for row in json.loads(QUESTIONS.read_text())]
