"""The library of prompts: one file each, and how to offer them without undoing what people did. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

FIELDS: Final = ("command", "title", "tag")
COMMAND: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FENCE: Final = "---"


@dataclass(frozen=True)
class Prompt:
    """``command``: what people type after ``/``. ``tag``: the label it is listed under."""

    command: str
    title: str
    tag: str
    content: str

    @property
    def digest(self) -> str:
        """SHA-256 over everything that people see of it."""
        return hashlib.sha256(json.dumps([self.command, self.title, self.tag, self.content]).encode()).hexdigest()


def parse(text: str) -> Prompt:
    """A prompt file: lines ``name: value`` between two lines ``---``, then the prompt's text.

    Raises ValueError that says what is wrong and what is due.
    """
    head, fence, body = text.removeprefix(f"{_FENCE}\n").partition(f"\n{_FENCE}\n")
    if not text.startswith(f"{_FENCE}\n") or not fence:
        raise ValueError(f"has no head; begin it with the lines {_FENCE}, {', '.join(FIELDS)} (name: value), {_FENCE}")
    found: dict[str, str] = {}
    for line in head.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or name not in FIELDS or name in found:
            raise ValueError(
                f"has the line {line[:60]!r} in its head; give {', '.join(FIELDS)} once each, as name: value"
            )
        found[name] = value
    for name in FIELDS:
        if not found.get(name, "").isprintable() or not found.get(name):
            raise ValueError(f"has no {name} in its head; give {name}: and one line of text")
    if not COMMAND.fullmatch(found["command"]):
        raise ValueError(f"has the command {found['command'][:60]!r}; give 1 to 63 of a-z, 0-9 and -, without a /")
    if not body.strip():
        raise ValueError("has no text below its head")
    return Prompt(content=body.strip(), **found)


def from_records(records: Sequence[Mapping[str, str]]) -> list[Prompt]:
    """The prompts of /etc/tandem/prompts.json."""
    return [Prompt(**{name: one[name] for name in (*FIELDS, "content")}) for one in records]


def to_form(prompt: Prompt) -> dict[str, Any]:
    """A prompt as Open WebUI's API takes it."""
    return {"command": prompt.command, "name": prompt.title, "content": prompt.content, "tags": [prompt.tag]}


def from_answer(answer: Mapping[str, Any]) -> Prompt:
    """A prompt as Open WebUI's API tells it."""
    tags = ", ".join(str(tag) for tag in answer.get("tags") or [])
    return Prompt(answer["command"].removeprefix("/"), answer["name"], tags, answer["content"])


@dataclass
class Work:
    """Commands by what has to be done with them, and sentences about those that are left alone, each said once.

    ``remember``: the WebUI has it already, only the record lacks it.
    """

    create: list[str] = field(default_factory=list)
    update: list[str] = field(default_factory=list)
    remember: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def due(self) -> bool:
        return bool(self.create or self.update or self.remember or self.kept)


def settled(wanted: Mapping[str, str], applied: Mapping[str, str]) -> bool:
    """Every wanted prompt is on record as it is now: what people have done to it since is theirs."""
    return all(applied.get(command) == digest for command, digest in wanted.items())


def compare(wanted: Mapping[str, str], applied: Mapping[str, str], present: Mapping[str, str]) -> Work:
    """What to do. All three map commands to digests: of the files, of those on record, in the WebUI now."""
    work = Work()
    for command, digest in sorted(wanted.items()):
        ours, there = applied.get(command), present.get(command)
        if ours == digest:
            continue
        if there is None and ours is None:
            work.create.append(command)
        elif there == digest:
            work.remember.append(command)
        elif there is None:
            work.kept.append(f"prompt /{command} was removed in the WebUI and stays so")
        elif ours is None:
            work.kept.append(f"prompt /{command} of somebody else is in the WebUI and was left alone")
        elif there == ours:
            work.update.append(command)
        else:
            work.kept.append(f"prompt /{command} was changed in the WebUI and was left alone")
    return work
