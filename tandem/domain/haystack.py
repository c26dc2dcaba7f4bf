"""A long text with one sentence hidden in it: made from a few numbers, the same on every machine. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Final

SENTENCES_PER_PARAGRAPH: Final = 8
TOKENS_PER_SENTENCE: Final = 11
"""Ten words and a full stop: each is one token in the vocabulary of gpt-oss (counted there: 30,000 within 0.1 %)."""

_PARTS: Final = tuple(
    tuple(words.split())
    for words in (
        "The One Every Another That This",
        "old young quiet tall busy kind tired clever small happy careful strong",
        "gardener teacher sailor baker doctor farmer painter driver student neighbor writer singer",
        "carried found washed painted opened moved watched cleaned repaired described followed remembered",
        "the",
        "red green white heavy broken empty simple wide narrow pretty dusty wooden",
        "chair window basket table bridge boat wall letter bottle blanket wagon garden",
        "near behind beside under above before",
        "the",
        "river market station church forest harbor school mill tower barn lake hill",
    )
)


@dataclass(frozen=True)
class Haystack:
    """About ``tokens`` tokens in all. ``position``: where the needle stands, 0 at the beginning, 1 at the end."""

    tokens: int
    needle: str
    position: float = 0.5
    seed: int = 0


def text(haystack: Haystack) -> str:
    """English sentences without numbers and names, and the needle as a sentence of its own among them."""
    count = max(1, round(haystack.tokens / TOKENS_PER_SENTENCE))
    sentences = [_sentence(haystack.seed, number) for number in range(count)]
    sentences.insert(round(haystack.position * count), haystack.needle)
    starts = range(0, len(sentences), SENTENCES_PER_PARAGRAPH)
    return "\n\n".join(" ".join(sentences[start : start + SENTENCES_PER_PARAGRAPH]) for start in starts)


def _sentence(seed: int, number: int) -> str:
    drawn = hashlib.sha256(f"{seed} {number}".encode()).digest()
    words = [part[byte % len(part)] for part, byte in zip(_PARTS, drawn, strict=False)]
    return " ".join(words) + "."
