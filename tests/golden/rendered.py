"""The example inventory rendered as text files: what a host gets, in a form that is reviewed as a diff."""

import hashlib
import re
import runpy
from pathlib import Path
from typing import Any, Final

from tandem.config import Config, load
from tandem.config.inlined import inlined
from tandem.render import render_host
from tandem.render.tree import Directory, Entry, File, Generated, Group, Link, Tree

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "gpu1"
PROGRAM: Final = "/usr/local/lib/tandem"
"""Sources of this repository, copied as they are: their diff is reviewed where they are."""

LISTING: Final = "LISTING"
"""Modes, owners, links and groups, which a text file can't show."""


def example() -> Config:
    """group_data/prod.py with the files it names, each zero digest replaced by its own so that a mix-up shows."""
    read = runpy.run_path(str(ROOT / "group_data/prod.py"))
    values = {name: value for name, value in read.items() if not name.startswith("_")}
    return load(_with_digests(inlined(values, HOST), ""), HOST)


def _with_digests(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_digests(below, f"{path}/{key}") for key, below in value.items()}
    if isinstance(value, list):
        return [_with_digests(below, f"{path}/{place}") for place, below in enumerate(value)]
    if isinstance(value, str):
        digest = hashlib.sha256(path.encode()).hexdigest()
        return re.sub(r"\b0{40,64}\b", lambda zeros: digest[: len(zeros.group())], value)
    return value


def rendered(config: Config, slot: str) -> Tree:
    return render_host(HOST, config, slot)


def as_texts(tree: Tree) -> dict[str, str]:
    """Relative path -> text: every file as it is, the active files of each group, and the listing of all."""
    # The guard's unit names the program that it was started with, which changes with every source.
    digest = next(group.digest for group in tree.groups if group.base == PROGRAM)
    texts = {
        path.lstrip("/"): entry.content.replace(digest, "PROGRAM")
        for path, entry in tree.entries.items()
        if isinstance(entry, File)
    }
    for group in tree.groups:
        if group.base != PROGRAM:
            texts |= {f"{group.current}/{name}".lstrip("/"): file.content for name, file in group.files.items()}
    return {**texts, LISTING: listing(tree)}


def listing(tree: Tree) -> str:
    lines = [_line(path, entry) for path, entry in tree.entries.items()]
    lines += [line for group in tree.groups for line in _group_lines(group)]
    return "".join(f"{line}\n" for line in sorted(lines))


def _line(path: str, entry: Entry) -> str:
    if isinstance(entry, Link):
        return f"{path} -> {entry.target}"
    kind = {File: "file", Directory: "directory", Generated: "secret"}[type(entry)]
    return f"{path} {kind} {entry.mode} {entry.uid}:{entry.gid}"


def _group_lines(group: Group) -> list[str]:
    if group.base == PROGRAM:
        return [f"{group.base} group: the host-side program"]
    files = [_line(f"{group.current}/{name}", file) for name, file in group.files.items()]
    return [f"{group.base} group, validated by: {' '.join(group.validate)}", *files]
