"""Files of comparison cases on the operator's machine: YAML or JSONL, read, checked and compiled for the host."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tandem.config.cases import Case
from tandem.config.errors import ConfigError
from tandem.domain.cases import compiled

ENDINGS: Final = (".yaml", ".yml", ".jsonl")
_LONGEST_VALUE: Final = 60


@dataclass(frozen=True)
class Found:
    """One case as it stands in a file; ``where`` names file and line."""

    where: str
    value: Any


class _Unreadable(ValueError):
    """``str()`` is the whole sentence, with file and line."""


def read(paths: Sequence[Path]) -> tuple[Case, ...]:
    """The cases of files, and of the files right below folders (their other files are not looked at).

    Raises ConfigError with every mistake of every file as one sentence.
    """
    problems: list[str] = []
    cases: dict[str, Case] = {}
    places: dict[str, str] = {}
    for path in paths:
        for found in _all(path, problems):
            case = _checked(found, problems)
            if case is None:
                continue
            if case.name in cases:
                problems.append(
                    f"{found.where}: the name {case.name!r} is that of {places[case.name]}; give each its own"
                )
            cases[case.name], places[case.name] = case, found.where
    if not cases and not problems:
        problems.append(f"{', '.join(map(str, paths)) or 'no file'}: no case there; give a list of cases")
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise ConfigError("\n".join([f"the comparison cases have {count}:", *(f"  {one}" for one in problems)]))
    return tuple(cases.values())


def document(cases: Sequence[Case]) -> str:
    """What the host reads, the same text for the same cases in whatever order."""
    return compiled([case.record() for case in sorted(cases, key=lambda case: case.name)])


def _all(path: Path, problems: list[str]) -> Iterator[Found]:
    path = path.expanduser()
    try:
        files = [path / name for name in sorted(os.listdir(path))] if path.is_dir() else [path]
        if path.is_dir():
            files = [file for file in files if file.suffix in ENDINGS]
        for file in files:
            try:
                yield from _of_file(file)
            except _Unreadable as error:
                problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename} can't be read ({error.strerror})")


def _of_file(path: Path) -> Iterator[Found]:
    if path.suffix not in ENDINGS:
        raise _Unreadable(f"{path} is no file of cases; give one that ends in {', '.join(ENDINGS)}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _Unreadable(f"{path} is not UTF-8 text") from None
    yield from _jsonl(path, text) if path.suffix == ".jsonl" else _yaml(path, text)


def _jsonl(path: Path, text: str) -> Iterator[Found]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield Found(where, json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant))
        except (ValueError, RecursionError) as error:
            raise _Unreadable(f"{where}: not JSON ({error}); give one case a line, as an object") from None


def _yaml(path: Path, text: str) -> Iterator[Found]:
    try:
        from tandem.config.case_yaml import entries
    except ModuleNotFoundError:
        raise _Unreadable(
            f"{path} needs PyYAML, which is missing; install pyyaml, or give the cases as .jsonl"
        ) from None
    try:
        for line, value in entries(text):
            yield Found(f"{path}, line {line}", value)
    except ValueError as error:
        raise _Unreadable(f"{path}, {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _checked(found: Found, problems: list[str]) -> Case | None:
    if not isinstance(found.value, dict):
        problems.append(f"{found.where}: a {type(found.value).__name__} is no case; give name, messages and so on")
        return None
    name = found.value.get("name")
    where = f"{found.where}, case {name!r}" if isinstance(name, str) else found.where
    try:
        return Case.model_validate(found.value)
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
    problems.extend(dict.fromkeys(f"{where}: {_sentence(error)}" for error in errors))
    return None


def _sentence(error: ErrorDetails) -> str:
    path = "/".join(map(str, error["loc"]))
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    shown = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    shown = shown if len(shown) <= _LONGEST_VALUE else f"{shown[: _LONGEST_VALUE - 4]}...{shown[0]}"
    if kind == "missing":
        words = "missing"
    elif kind == "extra_forbidden":
        words = "unknown name"
    elif kind == "value_error":
        words = str(context["error"])
    elif kind == "literal_error":
        words = f"{shown} is not known; give {context['expected']}"
    elif kind == "form":
        words = f"{shown} {error['msg']}"
    else:
        words = f"{shown} does not fit: {error['msg'][0].lower()}{error['msg'][1:]}"
    return f"{path}: {words}" if path else words
