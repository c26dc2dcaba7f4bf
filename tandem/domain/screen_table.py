"""Columns of text that line up. Pure."""

from collections.abc import Sequence
from typing import Final

LABEL: Final = 10
"""Characters that the label of a sentence takes."""
GAP: Final = "  "
NARROWEST: Final = 7
"""A column of words is cut no shorter than this."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int, width: int) -> list[str]:
    """The lines. The first ``texts`` columns hold words and stand at the left, the others figures, at the right. A
    column that is empty in all rows is left out; the widest words are cut ("...") until a line fits ``width``.
    """
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    wide = {at: max(len(head[at]), *(len(row[at]) for row in rows)) for at in kept}
    while sum(wide.values()) + len(GAP) * (len(kept) - 1) > width:
        widest = max((at for at in kept if at < texts), key=lambda at: wide[at])
        if wide[widest] <= NARROWEST:
            break
        wide[widest] -= 1
    lines = []
    for row in (head, *rows):
        cells = [f"{_cut(row[at], wide[at]):{'<' if at < texts else '>'}{wide[at]}}" for at in kept]
        lines.append(_cut(GAP.join(cells).rstrip(), width))
    return lines


def _cut(cell: str, wide: int) -> str:
    return cell if len(cell) <= wide else cell[: wide - 3] + "..."
