"""What a client asks for, read from its request, and the refusals of what can't be served. Standard library only."""

import json
from dataclasses import dataclass
from typing import Any, Final

from tandem.rehearsal.programs.knobs.answers import Asked
from tandem.rehearsal.serving import Request

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
COUNT: Final = "count"
"""Asked this, it counts for as many tokens as it may."""


class Refused(Exception):
    """The request gets this error instead of an answer."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Wanted:
    """One completion as the client wants it. ``most_tokens``: None for as many as it takes."""

    chat: bool
    asked: Asked
    most_tokens: int | None
    stream: bool
    usage_wanted: bool
    prompt_tokens: int


def read(request: Request, model: str, longest_tokens: int) -> Wanted:
    """Raises Refused as vLLM does: 400 for what is no request, 404 for another model."""
    chat = request.path == CHAT
    try:
        body = json.loads(request.body)
        messages = _messages(body["messages"]) if chat else (("user", _prompt(body["prompt"])),)
        most = _most(body)
        name, tools = (
            body.get("model", model),
            {one["function"]["name"]: one["function"] for one in body.get("tools") or ()},
        )
        stream, options = bool(body.get("stream")), body.get("stream_options") or {}
        usage, form = bool(options.get("include_usage")), body.get("response_format")
        numbered = most if body.get("ignore_eos") or not chat or messages[-1][1] == COUNT else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(400, "BadRequestError", f"this request is not understood: {error!r}") from None
    prompt_tokens = max(1, sum(len(text.split()) for _, text in messages))
    if most is not None and most > longest_tokens:
        raise Refused(400, "BadRequestError", f"max_tokens {most} is above the {longest_tokens} tokens of this model")
    if name != model:
        raise Refused(404, "NotFoundError", f"The model `{name}` does not exist.")
    asked = Asked(messages, tools, body.get("tool_choice", "auto"), form, numbered)
    return Wanted(chat, asked, most, stream, usage, prompt_tokens)


def _messages(given: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list) or not given:
        raise ValueError("messages is no list of messages")
    return tuple((str(one["role"]), _content(one.get("content"))) for one in given)


def _content(given: Any) -> str:
    """A text, or parts of which some are texts."""
    if given is None or isinstance(given, str):
        return given or ""
    return "".join(str(part["text"]) for part in given if part["type"] == "text")


def _prompt(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("prompt is no text")
    return given


def _most(body: dict[str, Any]) -> int | None:
    given = body.get("max_completion_tokens")
    given = body.get("max_tokens") if given is None else given
    if given is None:
        return None
    if not isinstance(given, int) or given < 1:
        raise ValueError(f"max_tokens must be at least 1, got {given}")
    return given
