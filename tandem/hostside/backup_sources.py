"""What a backup takes from a host beside Open WebUI's data. Runs on the host, as root."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tandem.domain.backup import CONFIG, SECRETS, STATE
from tandem.hostside.paths import Paths

RECORDS: Final = ("state.json", "history.jsonl", "manifest.json", "starts.json")
PROGRAM: Final = "usr/local/lib/tandem"
"""Of the host's program only the digest is kept: any checkout of that version renders it again."""


def size(folder: Path) -> int:
    """Bytes of the files below a folder; what vanishes meanwhile is not counted."""
    return sum(path.lstat().st_size for path in _files(folder) if path.exists())


def below(folder: Path, part: str) -> dict[str, Path]:
    """Every plain file below ``folder`` by its name in the archive."""
    return {f"{part}/{path.relative_to(folder)}": path for path in _files(folder)}


def copied(paths: Paths, target: Path) -> dict[str, Path]:
    """Copies of secrets, rendered files and records in ``target``, by their names in the archive.

    They are small and may change while a backup is made; what is hashed and what is saved are the same copies.
    """
    wanted = {
        **below(paths.secrets, SECRETS),
        **{f"{CONFIG}/{path.relative_to(paths.root)}": path for path in _rendered(paths)},
        **{f"{STATE}/{name}": paths.state.with_name(name) for name in RECORDS},
    }
    found = {}
    for name, path in sorted(wanted.items()):
        if os.path.basename(name).startswith("."):
            continue  # of a write in progress
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(path, target / name, follow_symlinks=False)
        except FileNotFoundError:
            continue
        (target / name).chmod(0o600)
        found[name] = target / name
    return found


def _rendered(paths: Paths) -> list[Path]:
    """Everything in /etc/tandem but the secrets, and the files elsewhere that Tandem owns."""
    own = paths.root / "etc/tandem"
    inside = [path for path in _files(own) if not path.is_relative_to(paths.secrets)]
    try:
        listed = json.loads(paths.state.with_name("manifest.json").read_text(encoding="utf-8"))["paths"]
    except (FileNotFoundError, ValueError, KeyError):
        listed = []
    outside = [paths.root / path.lstrip("/") for path in listed]
    kept = [path for path in outside if not path.is_relative_to(own) and not _is_program(path, paths)]
    return [*inside, *(path for path in kept if not path.is_symlink() and path.is_file())]


def _is_program(path: Path, paths: Paths) -> bool:
    return path.is_relative_to(paths.root / PROGRAM)


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(at) / name
            if not path.is_symlink() and path.is_file():
                yield path
