"""YAML with line numbers and without traps: only true, false, null and plain numbers are not text, no key twice."""

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

MOST_NODES: Final = 100_000
"""Of a file with its aliases written out."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1 reads ``no`` as false, 12:30 as 750 and a date as an object; here they are text, as in YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), [*_first, ""])


def entries(text: str) -> Iterator[tuple[int, Any]]:
    """Line and value of each entry of the list that ``text`` is. Raises ValueError that begins with the line."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.SequenceNode):
            raise ValueError(f"{_line(root)}: not a list; begin each case with '- name: ...'")
        _check(root)
        for node in root.value:
            yield node.start_mark.line + 1, loader.construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1 if mark else 1}: not YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ValueError(f"line 1: not YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise ValueError("line 1: not YAML that can be read: it is nested too deeply") from None


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"


def _check(root: Any) -> None:
    waiting, count = [root], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_NODES:
            raise ValueError(f"{_line(root)}: more than {MOST_NODES} values with its aliases written out")
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise ValueError(f"{_line(key)}: a name that is not text")
                if key.value in names:
                    raise ValueError(f"{_line(key)}: {key.value!r} is given twice")
                names.add(key.value)
                waiting.append(value)
