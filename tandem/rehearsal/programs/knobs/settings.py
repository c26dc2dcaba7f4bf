"""The knobs: how an engine differs from a good one, from variables KNOB_NAME. Standard library only.

A share is a number from 0 to 1: of the completions, unless said otherwise.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

PREFIX: Final = "KNOB_"
BAD_ERRORS: Final = ("", "format", "status", "ignored")


@dataclass(frozen=True)
class Knobs:
    """As given, an engine that does everything right. Seconds, shares and counts."""

    first_seconds: float = 0.010
    """Until the first token of an answer, on an idle engine."""
    gap_seconds: float = 0.002
    """From token to token."""
    noise: float = 0.1
    """Share by which both are longer or shorter from answer to answer."""
    seed: int = 0
    """Of the noise and of all that happens to a share."""

    first_factor: float = 1.0
    gap_factor: float = 1.0
    load_factor: float = 0.0
    """Every other answer in progress makes an answer slower by so many times its own duration."""
    leak_seconds: float = 0.0
    """Every completion so far makes the next first token later by this."""
    pause_share: float = 0.0
    """Answers whose first token comes ``pause_seconds`` later."""
    pause_seconds: float = 0.5
    health_seconds: float = 0.0
    """Until /health answers."""
    start_seconds: float = 0.0
    """Until it listens."""

    fail_share: float = 0.0
    """Status 500."""
    stranger_fail_share: float = 0.0
    """Status 500, of the completions whose question it does not know."""
    reset_share: float = 0.0
    """A reset connection instead of an answer."""
    error_body_share: float = 0.0
    """Status 200 with an error as body."""
    cut_share: float = 0.0
    """Streams that are reset half-way, and bodies that end half-way."""
    busy_failures: bool = False
    """Status 500 while another answer is in progress."""

    hang_after: int = -1
    """After so many completions no token comes any more, not even of answers in progress. -1: never."""
    die_after: int = -1
    """At the completion after so many, exit status 1. -1: never."""
    die_at_start: bool = False
    never_ready: bool = False
    """It runs, and never listens."""
    health_lies: bool = False
    """/health says 200, every completion says 500."""
    stuck_counters: bool = False

    no_done: bool = False
    bad_events: bool = False
    """Events whose data is no JSON."""
    other_model: bool = False
    """Answers name another model."""
    other_role: bool = False
    other_finish: bool = False
    """Every answer says that it was cut for its length."""
    one_piece: bool = False
    """A stream whose text comes in one piece, at its end."""
    bad_errors: str = ""
    """``format``: errors not as OpenAI has them; ``status``: 500 for what a client did wrong; ``ignored``: answered."""

    gibberish_share: float = 0.0
    empty_share: float = 0.0
    wrong_share: float = 0.0
    """Of the questions it knows: always the same ones are answered wrong."""
    repeats: bool = False
    """Every token twice."""
    other_language: bool = False
    bad_tool_arguments: bool = False
    """Arguments of tool calls that are no JSON."""
    other_tool: bool = False
    """Calls of a tool that nobody offered."""
    bad_json: bool = False
    """Where JSON is asked for, its keys are others."""
    forgets: bool = False
    """It sees the last message only."""
    sees_characters: int = 0
    """It sees the end of the conversation only, so many characters. 0: all of it."""

    reworded: bool = False
    """Right answers in other words."""
    words_per_event: int = 1
    """After the first, which comes by itself: as vLLM's ``--stream-interval`` has it."""
    comments: bool = False
    """Comment lines between the events of a stream."""
    crlf: bool = False
    """Events whose lines end with CR LF."""
    more_fields: bool = False
    """Objects with fields that no client knows."""
    role_everywhere: bool = False
    """Every chunk of a stream says the role."""
    spaced_json: bool = False
    """JSON texts of answers are laid out over several lines."""
    status_422: bool = False
    """Bad requests get 422 instead of 400."""


def from_environment(environment: Mapping[str, str]) -> Knobs:
    """Raises ValueError for a knob that does not exist, or a value that it can't have."""
    kinds = {PREFIX + field.name.upper(): (field.name, type(field.default)) for field in fields(Knobs)}
    given: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in kinds:
            raise ValueError(f"{variable} is no knob; known are {', '.join(sorted(kinds))}")
        name, kind = kinds[variable]
        given[name] = _value(variable, kind, text)
    knobs = Knobs(**given)
    for name in (field.name for field in fields(Knobs)):
        value = getattr(knobs, name)
        if name.endswith("_share") and not 0 <= value <= 1:
            raise ValueError(f"{PREFIX}{name.upper()}: {value} is no share from 0 to 1")
    if knobs.bad_errors not in BAD_ERRORS:
        raise ValueError(f"{PREFIX}BAD_ERRORS: {knobs.bad_errors!r} is none of {', '.join(BAD_ERRORS[1:])}")
    return knobs


def variables(knobs: Knobs) -> dict[str, str]:
    """The variables that make these knobs; what is as it would be anyway is left out."""
    usual = Knobs()
    names = [field.name for field in fields(Knobs) if getattr(knobs, field.name) != getattr(usual, field.name)]
    return {PREFIX + name.upper(): _text(getattr(knobs, name)) for name in names}


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _value(variable: str, kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("0", "1"):
            raise ValueError(f"{variable}: {text!r} is neither 0 nor 1")
        return text == "1"
    if kind is str:
        return text
    if not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text) or (kind is int and not re.fullmatch(r"-?\d+", text)):
        raise ValueError(f"{variable}: {text!r} is no {'whole ' if kind is int else ''}number")
    return kind(text)
