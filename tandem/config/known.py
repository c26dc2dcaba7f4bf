"""What is known at a place of the configuration: a pydantic error location -> a readable path and what is due there."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tandem.config.base import Form
from tandem.config.root import Config

KEY = "[key]"
"""pydantic's last location element when a dict's key, not its value, is at fault."""


@dataclass(frozen=True)
class Place:
    """``path``: names joined by /. ``names``: known names beside the last one. ``due``: what to give, in words."""

    path: str
    names: tuple[str, ...]
    due: str
    meaning: str = ""
    tags: tuple[str, ...] = ()


def _members(annotation: Any) -> list[Any]:
    """The types that ``annotation`` allows, without Annotated and unions around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tag(kind: Any) -> str | None:
    """The value of ``kind`` that selects this model in a union."""
    field = kind.model_fields.get("kind") if _is_model(kind) else None
    return str(get_args(field.annotation)[0]) if field else None


def _below(kind: Any, element: int | str) -> list[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(element)
        return _members(field.annotation) if field else []
    if get_origin(kind) is dict:
        return _members(get_args(kind)[1])
    return _members(get_args(kind)[0]) if get_origin(kind) is tuple else []


def _names(kind: Any) -> tuple[str, ...]:
    if _is_model(kind):
        return tuple(kind.model_fields)
    key = get_args(kind)[0] if get_origin(kind) is dict else None
    return get_args(key) if get_origin(key) is Literal else ()


def _words(kinds: Sequence[Any], field: FieldInfo | None) -> str:
    """What to give where one of ``kinds`` is due."""
    form = next((item for item in field.metadata if isinstance(item, Form)), None) if field else None
    if form:
        return form.give
    words = {str: "text in quotes", int: "a whole number", float: "a number", bool: "True or False"}
    due = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            due.append(" or ".join(repr(value) for value in get_args(kind)))
        elif get_origin(kind) is tuple:
            due.append("a list: [...]")
        elif _is_model(kind):
            due.append(f"a dict with {', '.join(kind.model_fields)}")
        elif get_origin(kind) is dict:
            due.append("a dict: {...}")
        elif kind in words:
            due.append(words[kind])
    return " or ".join(dict.fromkeys(due))


def _shown(element: int | str) -> str:
    text = str(element)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else text[:57] + "..."


def locate(location: Sequence[int | str]) -> Place:
    """The place that a pydantic error location names. Union tags and member names are no part of the path."""
    kinds: list[Any] = [Config]
    parents: list[Any] = []
    field: FieldInfo | None = None
    shown: list[str] = []
    for element in location:
        tagged = [kind for kind in kinds if _tag(kind) == element]
        if tagged:
            kinds = tagged
            continue
        containers = [kind for kind in kinds if _names(kind) or get_origin(kind) in (dict, tuple)]
        if element == KEY or (shown and not containers):
            break
        parents = containers
        fields = [kind.model_fields.get(element) for kind in containers if _is_model(kind)]
        field = next((found for found in fields if found), None)
        kinds = [below for kind in containers for below in _below(kind, element)]
        shown.append(_shown(element))
    return Place(
        path="/".join(shown),
        names=tuple(dict.fromkeys(name for kind in parents for name in _names(kind))),
        due=_words(kinds, field),
        meaning=(field.description or "").rstrip(".") if field else "",
        tags=tuple(tag for tag in map(_tag, kinds) if tag),
    )
