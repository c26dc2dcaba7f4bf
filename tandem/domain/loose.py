"""Values of JSON of any shape, as another version or a cut write may leave them: what is of use, or nothing. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

LONGEST_TEXT: Final = 400
LARGEST: Final = 1e15
"""A number beyond it is no count, no size and no time."""


def number(value: object) -> float | None:
    """A number between -LARGEST and LARGEST; None for everything else, true and false too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) <= LARGEST else None


def count(value: object) -> int | None:
    """A whole number, 0 or more."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def text(value: object, most: int = LONGEST_TEXT) -> str:
    """One line of at most ``most`` characters that a terminal only prints; "" for what is no text and no number."""
    if isinstance(value, (int, float)) and number(value) is not None:
        value = f"{value}"
    if not isinstance(value, str):
        return ""
    value = value[: most * 4]
    if not value.isprintable():
        value = "".join(one if one.isprintable() else " " for one in value)
    line = " ".join(value.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def moment(value: object) -> str:
    """A date with a time and a zone as people read it, in UTC; any other text as it is."""
    said = text(value)
    try:
        found = datetime.fromisoformat(said)
        return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if found.tzinfo else said
    except (ValueError, OverflowError):
        return said


def mapping(value: object) -> Mapping[str, Any]:
    return {key: one for key, one in value.items() if isinstance(key, str)} if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    return [mapping(one) for one in items(value) if isinstance(one, Mapping)]


def texts(value: object) -> list[str]:
    """The texts of a list that say something."""
    return [found for one in items(value) if (found := text(one))]
