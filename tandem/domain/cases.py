"""Comparison cases: what is asked of two releases, and what a right answer has to hold. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.domain.case_answers import Completion, is_error, of_body, of_stream
from tandem.domain.case_expect import Expect, ToolCall, unmet
from tandem.domain.haystack import Haystack
from tandem.domain.haystack import text as haystack_text

SCHEMA: Final = 1
"""Of the document that is compiled on the operator's machine and read on the host."""
CHARACTERS_PER_TOKEN: Final = 3
"""Cautious: English has four to five, Chinese less, but such cases are short."""


@dataclass(frozen=True)
class Message:
    """``haystack`` stands before ``content``. ``expect``: of the answer to this message."""

    role: str
    content: str
    haystack: Haystack | None = None
    expect: Expect = field(default_factory=Expect)

    @property
    def text(self) -> str:
        return f"{haystack_text(self.haystack)}\n\n{self.content}" if self.haystack else self.content


@dataclass(frozen=True)
class Bound:
    """Seconds: ``target`` is what is wanted, more than ``limit`` is too slow."""

    target: float
    limit: float


@dataclass(frozen=True)
class Case:
    """``request``: parameters beside model and messages. ``bad_request``: laid over the body to spoil it."""

    name: str
    kind: str
    messages: tuple[Message, ...]
    request: Mapping[str, Any]
    critical: bool = False
    bad_request: Mapping[str, Any] = field(default_factory=dict)
    first_token_seconds: Bound | None = None
    total_seconds: Bound | None = None

    @property
    def turns(self) -> tuple[int, ...]:
        """Where the user's messages are that get asked: those that no assistant's message follows."""
        roles = [message.role for message in self.messages] + ["user"]
        return tuple(i for i in range(len(self.messages)) if roles[i] == "user" and roles[i + 1] != "assistant")

    @property
    def context_tokens(self) -> int:
        """The window that it needs, estimated upwards: an engine with a smaller one can only refuse it."""
        found = sum(len(message.content) // CHARACTERS_PER_TOKEN + 8 for message in self.messages)
        found += sum(message.haystack.tokens for message in self.messages if message.haystack)
        return found + int(self.request.get("max_tokens", 0)) * len(self.turns)


@dataclass(frozen=True)
class Answer:
    """One answer as it came. ``pieces``: the ``data:`` payload of each event of a stream, or the one body.

    Seconds are counted from the sending; ``first_token_seconds`` until the first event with a token, also one of the
    reasoning, None where no such event came.
    """

    status: int
    pieces: tuple[str, ...]
    total_seconds: float
    first_token_seconds: float | None = None


@dataclass(frozen=True)
class Transcript:
    """``model``: the name that was asked for. ``answers``: one for each turn, fewer if it broke off."""

    model: str
    answers: tuple[Answer, ...]


def compiled(cases: Sequence[Mapping[str, Any]]) -> str:
    """The document for the host, one case to a line."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, sort_keys=True) for case in cases)
    return f'{{"schema": {SCHEMA}, "cases": [\n{lines}\n]}}\n'


def from_document(text: str) -> tuple[Case, ...]:
    """Raises ValueError for a document of another version."""
    document = json.loads(text)
    if document.get("schema") != SCHEMA:
        raise ValueError(
            f"the cases have schema {document.get('schema')}, this program reads {SCHEMA}: compile them anew"
        )
    return tuple(_case(record) for record in document["cases"])


def body(case: Case, model: str, said: Sequence[str]) -> dict[str, Any]:
    """The request for the turn after ``said``, the texts of the answers so far."""
    asked, messages, answers = case.turns, [], iter(said)
    for place, message in enumerate(case.messages[: asked[len(said)] + 1]):
        messages.append({"role": message.role, "content": message.text})
        if place in asked[: len(said)]:
            messages.append({"role": "assistant", "content": next(answers)})
    return {"model": model, "messages": messages, **case.request, **case.bad_request}


def completion(case: Case, answer: Answer) -> Completion:
    if case.request.get("stream"):
        return of_stream(answer.pieces)
    return of_body("".join(answer.pieces))


def evaluate(case: Case, transcript: Transcript) -> tuple[str, ...]:
    """What is wrong with the answers, one sentence each; nothing of a prompt, an answer or a case's texts is in them.

    An answer's status, format and model name count always, beside what the case expects. Its speed is another matter.
    """
    found: list[str] = []
    for number, place in enumerate(case.turns, 1):
        if number > len(transcript.answers):
            found.append(f"answer {number} of {len(case.turns)} is missing")
            break
        answer, expect = transcript.answers[number - 1], case.messages[place].expect
        wrong = _refusal(expect, answer) if expect.error_status else _wrong(case, expect, answer, transcript.model)
        found += [f"answer {number} {why}" for why in wrong]
    if len(transcript.answers) > len(case.turns):
        found.append(f"there are {len(transcript.answers)} answers to {len(case.turns)} turns")
    return tuple(found)


def slow(case: Case, transcript: Transcript, level: str = "limit") -> tuple[str, ...]:
    """Which answers took longer than the case's ``limit`` (or its ``target``) allows; a missing time is too slow."""
    found = []
    for name, words in (("first_token_seconds", "its first token"), ("total_seconds", "all of it")):
        bound: Bound | None = getattr(case, name)
        for number, answer in enumerate(transcript.answers if bound else (), 1):
            most, took = getattr(bound, level), getattr(answer, name)
            if took is None or not math.isfinite(took) or took < 0:
                found.append(f"answer {number} has no time of {words}")
            elif took > most:
                found.append(f"answer {number} took {took:.3g} s for {words}, the {level} is {most:.3g} s")
    return tuple(found)


def _refusal(expect: Expect, answer: Answer) -> list[str]:
    found = []
    if answer.status not in expect.error_status:
        allowed = " or ".join(map(str, expect.error_status))
        found.append(f"has status {answer.status} where a bad request is due {allowed}")
    if not is_error("".join(answer.pieces)):
        found.append("is not an error with a message and a type, as OpenAI's API has it")
    return found


def _wrong(case: Case, expect: Expect, answer: Answer, model: str) -> list[str]:
    if answer.status != 200:
        return [f"has status {answer.status}"]
    got = completion(case, answer)
    renamed = ["names another model than the one that was asked"] if got.models - {model} else []
    return [*got.problems, *renamed, *unmet(expect, got)]


def _case(record: Mapping[str, Any]) -> Case:
    bounds = {name: Bound(**record[name]) for name in ("first_token_seconds", "total_seconds") if name in record}
    return Case(**{**record, **bounds, "messages": tuple(_message(one) for one in record["messages"])})


def _message(record: Mapping[str, Any]) -> Message:
    haystack = Haystack(**record["haystack"]) if "haystack" in record else None
    return Message(record["role"], record["content"], haystack, _expect(record.get("expect", {})))


def _expect(record: Mapping[str, Any]) -> Expect:
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    if "tool_call" in known:
        known["tool_call"] = ToolCall(**known["tool_call"])
    return Expect(**known)
