"""Every error of a configuration as one sentence: ``path: problem; allowed form``. Never a secret's value."""

import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any, Final

from pydantic_core import ErrorDetails

from tandem.config.engine_options import looks_secret
from tandem.config.known import KEY, Place, locate

_USER_AND_PASSWORD: Final = re.compile(r"[^/\s@]+:[^/\s@]+@(?!sha256:)")
_LONGEST_VALUE: Final = 60


class ConfigError(Exception):
    """The configuration of a host cannot be used; ``str()`` is the whole report."""


def _shown(value: object, location: tuple[int | str, ...]) -> str:
    """The offending value, unless it is or may be a secret; containers are only named."""
    secret = location[0] == "secrets" or any(looks_secret(part) for part in location if isinstance(part, str))
    if secret or (isinstance(value, str) and (_USER_AND_PASSWORD.search(value) or "SECRET-KEY" in value)):
        return "the given value"
    if not isinstance(value, str | int | float | None):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]}...{text[0]}"


def _given(error: ErrorDetails) -> str:
    return _shown(error["input"], error["loc"])


def _unknown(place: Place, name: str) -> str:
    near = get_close_matches(name, place.names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(place.names)}"
    return f"unknown name; {hint}"


def _read_as_number(value: bool | int | float, declared: Collection[str]) -> str:
    """``--data release=0.10`` reaches us as 0.1: show how to quote it, with the declared name that was meant."""

    def same(name: str) -> bool:
        try:
            return float(name) == value
        except ValueError:
            return False

    meant = next((name for name in declared if same(name)), str(value))
    word = "True or False" if isinstance(value, bool) else "a number"
    return (
        f"{value!r} was read as {word}, not as text; quote it: --data 'release=\"{meant}\"' "
        f'(in group_data: release = "{meant}")'
    )


def _wrong_type(error: ErrorDetails, place: Place, declared: Collection[str]) -> str:
    value = error["input"]
    if error["type"] == "string_type" and isinstance(value, bool | int | float):
        if error["loc"] == ("release",):
            return _read_as_number(value, declared)
        if error["loc"][-1] == KEY:
            return f'the name {value!r} is a number, not text; give it in quotes: "{value}"'
    kinds: dict[type, str] = {str: "text", bool: "a truth value", int: "a number", float: "a number"}
    word = kinds.get(type(value))
    given = f"{_given(error)} is {word}" if word else f"{_given(error)} is given"
    return f"{given}; give {place.due}"


def _bounds(error: ErrorDetails) -> str:
    context = error["ctx"]
    if "ge" in context:
        return f"{_given(error)} is too small; give {context['ge']} or more"
    return f"{_given(error)} is too large; give {context['le']} or less"


def _length(error: ErrorDetails) -> str:
    context = error["ctx"]
    if "max_length" in context:
        return f"{_given(error)} is too long; give at most {context['max_length']} characters"
    return f"is empty; give at least {context['min_length']}"


def _one_of(error: ErrorDetails, place: Place) -> str:
    if error["loc"][-1] == KEY:
        return _unknown(place, str(error["input"]))
    return f"{_given(error)} is not known; give {error['ctx']['expected']}"


_SENTENCES: Final[dict[str, Callable[[ErrorDetails, Place], str]]] = {
    "missing": lambda _, place: f"missing; give {place.due} ({place.meaning})",
    "extra_forbidden": lambda error, place: _unknown(place, str(error["loc"][-1])),
    "invalid_key": lambda _, place: f"a name that is not text; known here: {', '.join(place.names)}",
    "form": lambda error, _: f"{_given(error)} {error['msg']}",
    "value_error": lambda error, _: str(error["ctx"]["error"]),
    "literal_error": _one_of,
    "union_tag_not_found": lambda _, place: f"kind is missing; give {' or '.join(map(repr, place.tags))}",
    "union_tag_invalid": lambda error, place: (
        f"kind {_shown(error['input']['kind'], error['loc'])} is not known; give {' or '.join(map(repr, place.tags))}"
    ),
    "greater_than_equal": lambda error, _: _bounds(error),
    "less_than_equal": lambda error, _: _bounds(error),
    "too_short": lambda error, _: _length(error),
    "too_long": lambda error, _: _length(error),
    "string_too_short": lambda error, _: _length(error),
    "string_too_long": lambda error, _: _length(error),
    "string_unicode": lambda *_: "is not valid Unicode; give text in quotes",
    "finite_number": lambda error, _: f"{_given(error)} is not finite; give a finite number",
    "int_from_float": lambda error, place: f"{_given(error)} has a fraction; give {place.due}",
}


def _consequences_dropped(errors: list[ErrorDetails]) -> list[tuple[ErrorDetails, Place]]:
    """The errors with their places, without those that only follow from another error.

    pydantic calls a list too short when its members are invalid, and reports every member of a union of scalars.
    """
    placed = [(error, locate(error["loc"])) for error in errors]
    explained = {
        place.path for error, place in placed if not error["type"].endswith("_type") and error["loc"][-1] != KEY
    }

    def follows(error: ErrorDetails, place: Place) -> bool:
        value: Any = error["input"]
        if error["type"] == "too_short":
            return len(value) >= int(error["ctx"]["min_length"])
        return error["type"].endswith("_type") and error["loc"][-1] != KEY and place.path in explained

    return [(error, place) for error, place in placed if not follows(error, place)]


def sentences(errors: list[ErrorDetails], declared: Collection[str]) -> list[str]:
    """One sentence per error, in the order given. ``declared``: names of releases, also of broken ones."""
    found: dict[str, None] = {}
    for error, place in _consequences_dropped(errors):
        if error["type"].endswith("_type"):
            problem = _wrong_type(error, place, declared)
        elif error["type"] in _SENTENCES:
            problem = _SENTENCES[error["type"]](error, place)
        else:
            problem = error["msg"]
        found[f"{place.path}: {problem}"] = None
    return list(found)
