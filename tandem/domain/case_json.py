"""The small part of JSON Schema that comparison cases may use: type, required, properties, enum, items. Pure."""

from collections.abc import Mapping
from typing import Any, Final

TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def mismatch(schema: Mapping[str, Any], value: Any, where: str = "its top level") -> str | None:
    """The first way in which ``value`` breaks ``schema``, None when it fits.

    Keys are counted in the schema's order, from 1, and never named: the sentence must not tell what was asked.
    """
    kind = schema.get("type")
    if kind is not None and not _is(kind, value):
        return f"{where} is not of type {kind}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{where} is none of the {len(schema['enum'])} allowed values"
    if isinstance(value, dict):
        for number, name in enumerate(schema.get("required", ()), 1):
            if name not in value:
                return f"{where} lacks required key {number}"
        for number, (name, inner) in enumerate(schema.get("properties", {}).items(), 1):
            if name in value and (found := mismatch(inner, value[name], f"{where}, key {number}")):
                return found
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value, 1):
            if found := mismatch(schema["items"], item, f"{where}, item {number}"):
                return found
    return None


def _is(kind: str, value: Any) -> bool:
    """JSON Schema counts 3.0 as an integer, and a truth value never as a number."""
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind])


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
