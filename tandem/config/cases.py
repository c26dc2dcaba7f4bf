"""Comparison cases as operators write them: the models, and the rules that no single value shows."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tandem.config.base import Form, Items, Model, Name
from tandem.domain.haystack import Haystack as MadeHaystack
from tandem.domain.haystack import text as haystack_text

Status = Annotated[int, Field(ge=400, le=599)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
Words = Annotated[str, Form(r"(?s).*\S.*", "text", "text with at least one character that is not blank")]


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression ({error}); give one as Python's re knows them") from None
    return pattern


class Schema(Model):
    """What a JSON value has to be: a small part of JSON Schema."""

    type: Literal["object", "array", "string", "number", "integer", "boolean", "null"] | None = Field(
        default=None, description="Its type."
    )
    required: Items[str] = Field(default=(), description="Keys that an object must have.")
    properties: dict[str, "Schema"] = Field(default={}, description="What the values of an object's keys have to be.")
    enum: Annotated[Items[Any] | None, Field(min_length=1)] = Field(default=None, description="The allowed values.")
    items: "Schema | None" = Field(default=None, description="What each item of an array has to be.")

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Schema":
        if (self.required or self.properties) and self.type not in (None, "object"):
            raise ValueError(f"required and properties are of an object, not of type {self.type!r}")
        if self.items and self.type not in (None, "array"):
            raise ValueError(f"items are of an array, not of type {self.type!r}")
        return self


class ToolCall(Model):
    """The one call that is expected."""

    name: Name = Field(description="The tool's name.")
    arguments: Schema = Field(default=Schema(type="object"), description="What its arguments have to be.")


class Expect(Model):
    """What one answer has to hold."""

    contains: Items[Words] = Field(default=(), description="Each of these texts is in it.")
    contains_any: Items[Words] = Field(default=(), description="At least one of these texts is in it.")
    not_contains: Items[Words] = Field(default=(), description="None of these texts is in it.")
    regex: Items[Annotated[Words, AfterValidator(_pattern)]] = Field(
        default=(), description="Each of these patterns is found in it."
    )
    json_schema: Schema | None = Field(default=None, description="It is JSON that fits this.")
    language: Literal["de", "en", "es", "fr", "ru", "zh"] | None = Field(default=None, description="Its language.")
    tool_call: ToolCall | None = Field(default=None, description="It is one call of this tool.")
    min_characters: Annotated[int, Field(ge=1)] | None = Field(default=None, description="It is at least so long.")
    max_characters: Annotated[int, Field(ge=1)] | None = Field(default=None, description="It is at most so long.")
    finish_reason: Literal["stop", "length", "tool_calls"] | None = Field(default=None, description="How it ends.")
    error_status: Items[Status] = Field(default=(), description="It is an error with one of these statuses.")

    @model_validator(mode="after")
    def _says_something(self) -> "Expect":
        if not self.model_dump(exclude_defaults=True):
            raise ValueError(f"is empty; give at least one of {', '.join(Expect.model_fields)}")
        if (self.min_characters or 1) > (self.max_characters or 1 << 60):
            raise ValueError(f"min_characters {self.min_characters} is above max_characters {self.max_characters}")
        if self.error_status and len(self.model_dump(exclude_defaults=True)) > 1:
            raise ValueError("error_status stands alone: a refused request has no answer to look at")
        return self


class Haystack(Model):
    """A long text, made on the host, with one sentence hidden in it."""

    tokens: Annotated[int, Field(ge=100, le=200_000)] = Field(description="Its length (tokens).")
    needle: Words = Field(description="The hidden sentence.")
    position: Share = Field(default=0.5, description="Where it stands: 0 at the beginning, 1 at the end.")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Another number makes another text.")

    @model_validator(mode="after")
    def _needle_is_not_hay(self) -> "Haystack":
        if self.needle in haystack_text(MadeHaystack(self.tokens, "", self.position, self.seed)):
            raise ValueError("the needle is in the text anyhow; give a sentence with a number or a name")
        return self


class Message(Model):
    """One message of the conversation. A user's message that no assistant's message follows is asked."""

    role: Literal["system", "user", "assistant"] = Field(description="Whose message it is.")
    content: Words = Field(description="Its text.")
    haystack: Haystack | None = Field(default=None, description="A long text before it.")
    expect: Expect | None = Field(default=None, description="What the answer to it has to hold.")


class Request(Model):
    """Parameters of the request beside model and messages."""

    temperature: Annotated[float, Field(ge=0, le=2)] = Field(default=0, description="0: the likeliest words.")
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = Field(default=1024, description="Reasoning counts too.")
    stream: bool = Field(default=True, description="Whether the answer comes piece by piece.")
    seed: int | None = Field(default=None, description="For a temperature above 0.")
    top_p: Share | None = Field(default=None, description="Share of likely words that are drawn from.")
    stop: Items[Words] = Field(default=(), description="Texts that end the answer.")
    reasoning_effort: Literal["low", "medium", "high"] | None = Field(default=None, description="How long to reason.")
    tools: Items[dict[str, Any]] = Field(default=(), description="Tools as OpenAI's API takes them.")
    tool_choice: str | dict[str, Any] | None = Field(default=None, description="As OpenAI's API takes it.")
    response_format: dict[str, Any] | None = Field(default=None, description="As OpenAI's API takes it.")

    @property
    def tool_names(self) -> list[str]:
        functions = [tool.get("function") for tool in self.tools]
        return [str(function.get("name")) for function in functions if isinstance(function, dict)]


class Bound(Model):
    """A duration (seconds)."""

    target: Seconds = Field(description="What is wanted; the report shows it.")
    limit: Seconds = Field(description="More is too slow.")

    @model_validator(mode="after")
    def _in_order(self) -> "Bound":
        if self.target > self.limit:
            raise ValueError(f"target {self.target:g} is above limit {self.limit:g}")
        return self


class Case(Model):
    """One comparison case."""

    name: Name = Field(description="Unlike any other case's.")
    kind: Literal["answer", "conversation", "error", "json", "language", "latency", "recall", "stream", "tool"] = Field(
        default="answer", description="What it is about; decides what it must have."
    )
    messages: Annotated[Items[Message], Field(min_length=1)] = Field(description="The conversation.")
    request: Request = Field(default=Request(), description="Parameters of the request.")
    critical: bool = Field(default=False, description="Wrong twice in a row on the new release alone: it fails.")
    bad_request: dict[str, Any] = Field(default={}, description="For kind error: laid over the request to spoil it.")
    first_token_seconds: Bound | None = Field(default=None, description="Until the first token.")
    total_seconds: Bound | None = Field(default=None, description="Until the end of each answer.")

    @model_validator(mode="after")
    def _holds_together(self) -> "Case":
        if problems := [*self._order(), *self._of_its_kind()]:
            raise ValueError("; ".join(problems))
        return self

    def record(self) -> dict[str, Any]:
        """As the host reads it: without what is left empty, the request with its defaults."""
        found = self.model_dump(mode="json", exclude_defaults=True)
        request = self.request.model_dump(mode="json", exclude_defaults=True)
        always = {"temperature": self.request.temperature, "max_tokens": self.request.max_tokens}
        return {**found, "kind": self.kind, "request": {**always, "stream": self.request.stream, **request}}

    @property
    def _asked(self) -> list[Message]:
        after = [*self.messages[1:], None]
        pairs = zip(self.messages, after, strict=True)
        return [one for one, other in pairs if one.role == "user" and (other is None or other.role != "assistant")]

    def _order(self) -> Iterator[str]:
        roles = [message.role for message in self.messages]
        if "system" in roles[1:]:
            yield "a system message stands after another; only the first one may be it"
        if roles[-1] != "user":
            yield f"the last message is the {roles[-1]}'s; end with the user's, which is asked"
        for before, role in zip([None, *roles], roles, strict=False):
            if role == "assistant" and before != "user":
                yield "an assistant's message follows none of the user's; it is the answer to one"
        asked = self._asked
        if any(message.expect and message not in asked for message in self.messages):
            yield "expect stands at a message that is not asked; put it at a user's that no assistant's follows"
        if any(message.haystack and message.role != "user" for message in self.messages):
            yield "haystack stands at a message that is not the user's"

    def _of_its_kind(self) -> Iterator[str]:
        expects = [message.expect for message in self._asked if message.expect]
        refused = any(expect.error_status for expect in expects)
        if not expects and self.kind not in ("latency", "stream"):
            yield f"kind {self.kind!r} needs expect at a message that is asked"
        if self.kind == "error" and not (refused and self.bad_request and len(self._asked) == 1):
            yield "kind 'error' needs bad_request, and one message that is asked with expect: error_status"
        if self.kind != "error" and (refused or self.bad_request):
            yield "bad_request and error_status are of kind 'error'"
        if self.kind == "conversation" and len(self._asked) < 2:
            yield "kind 'conversation' needs two or more messages that are asked"
        if self.kind == "recall" and not any(message.haystack for message in self.messages):
            yield "kind 'recall' needs a message with haystack"
        if self.kind == "stream" and not self.request.stream:
            yield "kind 'stream' needs request: stream true"
        if self.kind == "latency" and not (self.first_token_seconds or self.total_seconds):
            yield "kind 'latency' needs first_token_seconds or total_seconds"
        if self.first_token_seconds and not self.request.stream:
            yield "first_token_seconds needs request: stream true"
        for field, kind in (("json_schema", "json"), ("language", "language"), ("tool_call", "tool")):
            if self.kind == kind and not any(getattr(expect, field) for expect in expects):
                yield f"kind {kind!r} needs expect: {field}"
        for call in (expect.tool_call for expect in expects if expect.tool_call):
            if call.name not in self.request.tool_names:
                yield f"expects a call of {call.name!r}, which is not among request: tools"
