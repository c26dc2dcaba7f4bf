"""What one answer of a comparison case has to hold. Pure; no sentence repeats a word of prompt, answer or case."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.domain import case_json, case_text
from tandem.domain.case_answers import Completion, parsed


@dataclass(frozen=True)
class ToolCall:
    """The one call that is expected. ``arguments``: a schema as ``case_json`` knows it."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})


@dataclass(frozen=True)
class Expect:
    """What one answer has to hold; what is left empty is not looked at. Texts are compared as ``case_text`` says."""

    contains: tuple[str, ...] = ()
    contains_any: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    language: str | None = None
    tool_call: ToolCall | None = None
    min_characters: int | None = None
    max_characters: int | None = None
    finish_reason: str | None = None
    error_status: tuple[int, ...] = ()


def unmet(expect: Expect, got: Completion) -> list[str]:
    """What ``got`` lacks, in words that continue "the answer ..."."""
    return [why for check in _CHECKS for why in check(expect, got)]


def _texts(expect: Expect, got: Completion) -> list[str]:
    found = [
        f"lacks text {number} of contains"
        for number, wanted in enumerate(expect.contains, 1)
        if not case_text.contains(got.text, wanted)
    ]
    if expect.contains_any and not any(case_text.contains(got.text, wanted) for wanted in expect.contains_any):
        found.append(f"has none of the {len(expect.contains_any)} texts of contains_any")
    found += [
        f"has text {number} of not_contains"
        for number, wanted in enumerate(expect.not_contains, 1)
        if case_text.contains(got.text, wanted)
    ]
    return found + [
        f"does not match pattern {number} of regex"
        for number, pattern in enumerate(expect.regex, 1)
        if not case_text.matches(got.text, pattern)
    ]


def _json(expect: Expect, got: Completion) -> list[str]:
    if expect.json_schema is None:
        return []
    why = _schema_problem(expect.json_schema, got.text)
    return [f"is not the JSON that is expected: {why}"] if why else []


def _language(expect: Expect, got: Completion) -> list[str]:
    why = case_text.language_problem(got.text, expect.language) if expect.language else None
    return [why] if why else []


def _tool_call(expect: Expect, got: Completion) -> list[str]:
    if expect.tool_call is None:
        return []
    if len(got.tool_calls) != 1:
        return [f"has {len(got.tool_calls)} tool calls where one is expected"]
    name, arguments = got.tool_calls[0]
    if name != expect.tool_call.name:
        return ["calls another tool than the expected one"]
    why = _schema_problem(expect.tool_call.arguments, arguments)
    return [f"calls the tool with other arguments than expected: {why}"] if why else []


def _length(expect: Expect, got: Completion) -> list[str]:
    count = len(got.text.strip())
    if expect.min_characters is not None and count < expect.min_characters:
        return [f"has {count} characters, fewer than {expect.min_characters}"]
    if expect.max_characters is not None and count > expect.max_characters:
        return [f"has {count} characters, more than {expect.max_characters}"]
    return []


def _finish_reason(expect: Expect, got: Completion) -> list[str]:
    if expect.finish_reason is None or got.finish_reason == expect.finish_reason:
        return []
    return [f"does not finish with {expect.finish_reason}"]


_CHECKS: Final[tuple[Callable[[Expect, Completion], list[str]], ...]] = (
    _texts,
    _json,
    _language,
    _tool_call,
    _length,
    _finish_reason,
)


def _schema_problem(schema: Mapping[str, Any], text: str) -> str | None:
    try:
        value = parsed(text)
    except ValueError:
        return "it can't be parsed"
    return case_json.mismatch(schema, value)
