"""SHA-256 of files, remembered by size and times: a second run hashes only what changed."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Hashes:
    """``file`` is where they are remembered; paths in it are relative to ``root``."""

    root: Path
    file: Path
    known: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.known = dict(json.loads(self.file.read_text()))
        except (OSError, ValueError):
            self.known = {}

    def sha256(self, path: Path) -> str:
        """Hashed once per content: a change of size, modification or inode-change time hashes it again."""
        name, found = str(path.relative_to(self.root)), path.stat()
        stamp = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        if self.known.get(name, [])[:3] != stamp:
            with path.open("rb") as file:
                self.known[name] = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        return str(self.known[name][3])

    def save(self) -> None:
        """Only files that are still there are kept."""
        there = {name: value for name, value in sorted(self.known.items()) if (self.root / name).is_file()}
        new = self.file.with_name(f"{self.file.name}.new")
        new.write_text(json.dumps(there))
        new.replace(self.file)
