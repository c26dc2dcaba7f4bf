"""The rows of the doctor as text: a table for people, one line of JSON for programs."""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Final

from tandem.domain.checks import Check

WORDS: Final = {"ok": "pass", "warn": "warn", "fail": "FAIL"}
_CARD: Final = re.compile(r"card (\d+): (.*)")
MOST_NAME: Final = 26


def table(host: str, rows: Sequence[Check], width: int) -> str:
    """Columns result, check, found, needed; below a row that does not pass, what to do. ``width`` in characters."""
    folded = list(_folded(rows))
    names = min(MOST_NAME, max(len(row.name) for row in folded))
    needed = min(width // 4, max(len(row.needed) for row in folded))
    found = width - 6 - names - 2 - needed - 2
    lines = [f"Doctor of {host}: {summary(rows)}", ""]
    lines += _cells(("", "CHECK", "FOUND", "NEEDED"), (4, names, found, needed))
    for row in folded:
        lines += _cells((WORDS[row.level], row.name, row.found, row.needed), (4, names, found, needed))
        if row.advice:
            lines += textwrap.wrap(
                row.advice,
                width,
                initial_indent=" " * (8 + names) + "-> ",
                subsequent_indent=" " * (11 + names),
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def summary(rows: Sequence[Check]) -> str:
    """``38 pass, 2 warn, 1 FAIL``."""
    counts = Counter(WORDS[row.level] for row in rows)
    return ", ".join(f"{counts[word]} {word}" for word in WORDS.values())


def as_json(host: str, rows: Sequence[Check]) -> str:
    """{"host", "fit": no check failed, "checks": [{"name", "level", "found", "needed", "advice"}]}."""
    fit = all(row.level != "fail" for row in rows)
    return json.dumps({"host": host, "fit": fit, "checks": [asdict(row) for row in rows]})


def _folded(rows: Sequence[Check]) -> Iterator[Check]:
    """Rows that say the same of several cards become one: ``cards 0 1: memory``."""
    same: dict[Check, list[str]] = {}
    for row in rows:
        if card := _CARD.fullmatch(row.name):
            same.setdefault(_but_card(row), []).append(card[1])
    for row in rows:
        card = _CARD.fullmatch(row.name)
        if not card:
            yield row
            continue
        one = _but_card(row)
        if cards := same.pop(one, []):
            yield replace(one, name=f"card{'s' if len(cards) > 1 else ''} {' '.join(cards)}: {one.name}")


def _but_card(row: Check) -> Check:
    name, found = (re.sub(r"^card \d+: ", "", text) for text in (row.name, row.found))
    return replace(row, name=name, found=found)


def _cells(texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row of the table, as many lines as its longest cell needs."""
    columns = [
        textwrap.wrap(text, width, break_on_hyphens=False) or [""] if width else [""]
        for text, width in zip(texts, widths, strict=True)
    ]
    lines = []
    for place in range(max(map(len, columns))):
        parts = [column[place] if place < len(column) else "" for column in columns]
        lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines
