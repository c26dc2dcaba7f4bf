"""A chat completion read from what came over the wire, and what is wrong with its form. Pure; nothing here raises."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

DONE: Final = "[DONE]"
LONGEST_PIECE_CHARACTERS: Final = 400
"""A streamed text longer than this that comes in one piece was held back, not streamed."""


@dataclass(frozen=True)
class Completion:
    """``tool_calls``: name and arguments as text. ``models``: every name that the answer gives itself.

    ``problems``: what breaks the format, in words that continue "the answer ...".
    """

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    models: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


def parsed(text: str) -> Any:
    """``text`` as JSON. Raises ValueError; NaN and infinities are not JSON, as RFC 8259 has it."""
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def of_body(body: str) -> Completion:
    """The one body of an answer that was not streamed."""
    found = _object(body)
    choice = _first_choice(found)
    if found.get("object") != "chat.completion" or choice is None:
        return Completion(problems=("is not a chat completion",))
    message = _mapping(choice.get("message"))
    problems = [] if message.get("role") == "assistant" else ["has a message without the role assistant"]
    if not isinstance(choice.get("finish_reason"), str):
        problems.append("has no finish reason")
    calls = [_mapping(_mapping(call).get("function")) for call in _list(message.get("tool_calls"))]
    return Completion(
        text=_text(message.get("content")),
        tool_calls=tuple((_text(call.get("name")), _text(call.get("arguments"))) for call in calls),
        finish_reason=_text(choice.get("finish_reason")) or None,
        models=frozenset({_text(found.get("model"))}),
        problems=tuple(problems),
    )


def of_stream(events: Sequence[str]) -> Completion:
    """The ``data:`` payloads of an event stream: role first, content deltas, finish reason last, then [DONE]."""
    reader = _Stream()
    for event in events:
        if event != DONE:
            reader.take(event)
    problems = reader.problems
    if not events or events[-1] != DONE:
        problems["has a stream that does not end with [DONE]"] = None
    if DONE in events[:-1]:
        problems["has a stream that goes on after [DONE]"] = None
    if not reader.begun:
        problems["has a stream without a chunk"] = None
    elif reader.finish_reason is None:
        problems["has no finish reason"] = None
    if len(reader.ids) > 1:
        problems["changes its id within the stream"] = None
    text = "".join(reader.pieces)
    if len(reader.pieces) == 1 and len(text) > LONGEST_PIECE_CHARACTERS:
        problems[f"streams more than {LONGEST_PIECE_CHARACTERS} characters in one piece"] = None
    calls = tuple((call[0], call[1]) for _, call in sorted(reader.calls.items()))
    return Completion(text, calls, reader.finish_reason, frozenset(reader.models), tuple(problems))


def is_error(body: str) -> bool:
    """Whether this is an error as OpenAI's API has it: an object ``error`` with a message and a type."""
    error = _mapping(_object(body).get("error"))
    return bool(_text(error.get("message"))) and bool(_text(error.get("type")))


class _Stream:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.calls: dict[int, list[str]] = {}
        self.finish_reason: str | None = None
        self.models: set[str] = set()
        self.ids: set[str] = set()
        self.problems: dict[str, None] = {}
        self.begun = False

    def take(self, event: str) -> None:
        chunk = _object(event)
        if "error" in chunk:
            self.problems["carries an error in its stream"] = None
            return
        if chunk.get("object") != "chat.completion.chunk" or not isinstance(chunk.get("choices"), list):
            self.problems["has a stream event that is not a chunk of a chat completion"] = None
            return
        self.models.add(_text(chunk.get("model")))
        self.ids.add(_text(chunk.get("id")))
        choice = _first_choice(chunk)
        if choice is not None:
            self._extend(choice)

    def _extend(self, choice: dict[str, Any]) -> None:
        delta = _mapping(choice.get("delta"))
        if not self.begun and delta.get("role") != "assistant":
            self.problems["has a stream that does not begin with the role assistant"] = None
        self.begun = True
        if self.finish_reason is not None:
            self.problems["has a stream that goes on after its finish reason"] = None
        if piece := _text(delta.get("content")):
            self.pieces.append(piece)
        for part in _list(delta.get("tool_calls")):
            index, function = _mapping(part).get("index"), _mapping(_mapping(part).get("function"))
            call = self.calls.setdefault(index if isinstance(index, int) else -1, ["", ""])
            call[0] += _text(function.get("name"))
            call[1] += _text(function.get("arguments"))
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(text: str) -> dict[str, Any]:
    try:
        return _mapping(parsed(text))
    except ValueError:
        return {}


def _first_choice(found: dict[str, Any]) -> dict[str, Any] | None:
    choices = _list(found.get("choices"))
    return choices[0] if choices and isinstance(choices[0], dict) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
