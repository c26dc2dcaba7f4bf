"""What an engine with knobs answers: from a book of questions, the rest in numbered tokens. Standard library only."""

import hashlib
import json
import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tandem.rehearsal.programs.knobs.settings import Knobs

STRANGER_TOKENS: Final = 16
FORGOTTEN: Final = "I don't know."
IN_ANOTHER_LANGUAGE: Final = "Es tut mir leid, aber das kann ich nicht in dieser Sprache sagen."
IN_YET_ANOTHER: Final = "Je suis désolé, mais je ne peux pas le dire dans cette langue."
# What Open WebUI asks on its own after a first answer.
WEBUI_TASKS: Final = (
    ("title", '{"title": "Rehearsal"}'),
    ("tags", '{"tags": ["General"]}'),
    ("", '{"follow_ups": []}'),
)
_TOKEN: Final = re.compile(r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+\s*|\s+")


@dataclass(frozen=True)
class Call:
    """Of a tool; ``arguments`` as text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Said:
    """One answer. ``known``: its question stands in the book."""

    tokens: tuple[str, ...]
    call: Call | None = None
    known: bool = True

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True)
class Asked:
    """What decides an answer. ``numbered``: so many numbered tokens are wanted for what is unknown, None: some."""

    messages: tuple[tuple[str, str], ...]
    tools: Mapping[str, Mapping[str, Any]]
    tool_choice: Any = "auto"
    response_format: Mapping[str, Any] | None = None
    numbered: int | None = None

    @property
    def question(self) -> str:
        return next((text for role, text in reversed(self.messages) if role == "user"), "")


@dataclass(frozen=True)
class Entry:
    """``needs`` stands in the conversation, else nobody could know the answer. ``call``: where its tool is offered."""

    question: str
    answer: str
    wrong: str = ""
    reworded: str = ""
    needs: str = ""
    call: Call | None = None


def tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


class Book:
    def __init__(self, entries: Sequence[Entry], knobs: Knobs) -> None:
        self._knobs = knobs
        self._entries = sorted(entries, key=lambda entry: len(entry.question), reverse=True)

    def answer(self, asked: Asked, chance: random.Random) -> Said:
        question, seen = plain(asked.question), plain(self._seen(asked))
        found = [entry for entry in self._entries if f" {question}".endswith(f" {plain(entry.question)}")]
        if found:
            # The same question may mean more behind something else: what needs most is looked at first.
            met = [entry for entry in found if plain(entry.needs) in seen]
            known = max(met, key=lambda entry: bool(entry.needs), default=None)
            said = self._known(known, asked) if known else Said(tokens(FORGOTTEN))
        else:
            said = self._stranger(asked)
        return self._spoilt(said, asked, chance)

    def _seen(self, asked: Asked) -> str:
        texts = [asked.question] if self._knobs.forgets else [text for _, text in asked.messages]
        return "\n".join(texts)[-self._knobs.sees_characters :]

    def _known(self, entry: Entry, asked: Asked) -> Said:
        if entry.call and entry.call.name in asked.tools and asked.tool_choice != "none":
            return Said((), entry.call)
        if self._is_wrong(entry.question):
            return Said(tokens(entry.wrong or FORGOTTEN))
        return Said(tokens(entry.reworded or entry.answer if self._knobs.reworded else entry.answer))

    def _is_wrong(self, question: str) -> bool:
        drawn = hashlib.sha256(f"{self._knobs.seed} {question}".encode()).digest()
        return int.from_bytes(drawn[:4]) < self._knobs.wrong_share * 2**32

    def _stranger(self, asked: Asked) -> Said:
        if asked.question.startswith("### Task:"):
            return Said(tokens(next(answer for word, answer in WEBUI_TASKS if word in asked.question[:200])))
        if asked.tools and asked.tool_choice not in ("none", "auto", None):
            wanted = asked.tool_choice["function"]["name"] if isinstance(asked.tool_choice, Mapping) else ""
            name = str(wanted) if wanted in asked.tools else next(iter(asked.tools))
            parameters = asked.tools[name].get("parameters") or {"type": "object"}
            return Said((), Call(name, json.dumps(instance(parameters))), known=False)
        if asked.response_format and asked.response_format.get("type") in ("json_schema", "json_object"):
            schema = (asked.response_format.get("json_schema") or {}).get("schema") or {"type": "object"}
            return Said(tokens(json.dumps(instance(schema))), known=False)
        count = STRANGER_TOKENS if asked.numbered is None else asked.numbered
        return Said(tuple(f"{number} " for number in range(count)), known=False)

    def _spoilt(self, said: Said, asked: Asked, chance: random.Random) -> Said:
        knobs, text = self._knobs, said.text
        if said.call:
            return replace(said, call=_spoilt_call(said.call, knobs))
        if asked.response_format and (knobs.bad_json or knobs.spaced_json):
            text = _spoilt_json(text, knobs)
        if knobs.other_language:
            text = IN_YET_ANOTHER if re.search(r"\b(der|die|das|German)\b", asked.question) else IN_ANOTHER_LANGUAGE
        if chance.random() < knobs.gibberish_share:
            text = re.sub(r"\w", lambda _: chance.choice(string.ascii_lowercase), text)
        if chance.random() < knobs.empty_share:
            text = ""
        parts = said.tokens if text == said.text else tokens(text)
        return replace(said, tokens=tuple(part for part in parts for _ in range(1 + knobs.repeats)))


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


def instance(schema: Mapping[str, Any]) -> Any:
    """The least value that fits a JSON schema of the kind that clients send."""
    if schema.get("enum"):
        return schema["enum"][0]
    properties = schema.get("properties") or {}
    match schema.get("type"):
        case "array":
            return [instance(schema.get("items") or {})]
        case "string":
            return "word"
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "null":
            return None
    return {name: instance(properties.get(name) or {"type": "string"}) for name in schema.get("required") or properties}


def read(questions: Path, more: Path) -> list[Entry]:
    """The rehearsal's questions, and the book beside this file."""
    asked = [
        Entry(one["question"], one["answer"], one.get("bad_answer", ""), f"Certainly. {one['answer']}")
        for one in json.loads(questions.read_text())
    ]
    return asked + [_entry(one) for one in json.loads(more.read_text())]


def _entry(record: Mapping[str, Any]) -> Entry:
    call = record.get("call")
    made = Call(call["name"], json.dumps(call["arguments"])) if call else None
    return Entry(**{**record, "call": made})


def _spoilt_call(call: Call, knobs: Knobs) -> Call:
    arguments = json.dumps(json.loads(call.arguments), indent=2) if knobs.spaced_json else call.arguments
    return Call(
        f"{call.name}_now" if knobs.other_tool else call.name, arguments[: -1 if knobs.bad_tool_arguments else None]
    )


def _spoilt_json(text: str, knobs: Knobs) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if knobs.bad_json:
        value = {f"the {name}": one for name, one in value.items()}
    return json.dumps(value, indent=2 if knobs.spaced_json else None, ensure_ascii=False)
