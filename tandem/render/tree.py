"""The types of a file tree: everything that Tandem owns on a host, as a pure value.

A tree maps absolute paths to entries. ``Generated`` files (secrets) are checked for presence, mode and owner only;
their content never leaves the host.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class File:
    """A file with exact content (UTF-8), mode (four digits) and owner.

    Owners are numeric, so that a file can be applied before its user exists.
    """

    content: str
    mode: str = "0644"
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Directory:
    """A directory with exact mode and owner. Its other content is not looked at."""

    mode: str = "0755"
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Generated:
    """A file that the host makes (a secret): presence, mode and owner are checked, content is never read."""

    mode: str = "0600"
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Group:
    """Files that are only valid together: written beside the active ones, validated, swapped in by one rename.

    ``base`` holds one folder per digest; the link ``base/current`` names the active one. ``files`` maps relative paths
    to files. ``validate`` is a command (argument list) in which ``{root}`` stands for the candidate folder; () means
    that nothing can be validated.
    """

    base: str
    files: Mapping[str, File]
    validate: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 over names, modes, owners and contents."""
        seen = {name: (file.mode, file.uid, file.gid, file.content) for name, file in sorted(self.files.items())}
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    @property
    def root(self) -> str:
        return f"{self.base}/{self.digest}"

    @property
    def current(self) -> str:
        return f"{self.base}/current"


Entry: TypeAlias = File | Directory | Link | Generated


@dataclass(frozen=True)
class Tree:
    """Entries by absolute path, plus groups. ``a | b`` joins two trees; one path in both is an error."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()

    def __or__(self, other: "Tree") -> "Tree":
        twice = self.entries.keys() & other.entries.keys()
        if twice:
            raise ValueError(f"rendered twice: {', '.join(sorted(twice))}")
        return Tree({**self.entries, **other.entries}, self.groups + other.groups)
