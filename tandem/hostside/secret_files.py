"""The folder of secrets on a host: its files by name, with the modes and owners of the table in domain/secrets."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tandem.domain.secrets import EDGE_GID, GATE_GID, OPTIONAL, directories, files
from tandem.hostside.files import sync_directory, write_atomic


@dataclass(frozen=True)
class Owners:
    """Numeric owners: root and the groups of edge and gate. Tests that are not root give their own."""

    uid: int = 0
    gid: int = 0
    edge_gid: int = EDGE_GID
    gate_gid: int = GATE_GID


@dataclass
class Store:
    """The folder of secrets, and the names of those files that were written, repaired or removed.

    ``users`` and ``clients``: whose secrets it holds.
    """

    root: Path
    owners: Owners = Owners()
    users: Sequence[str] = ()
    clients: Sequence[str] = ()
    changed: list[str] = field(default_factory=list)

    def read(self, name: str) -> str | None:
        """The file's text; None if it is missing or not text."""
        try:
            return (self.root / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return None

    def secret(self, name: str) -> str:
        return (self.read(name) or "").strip()

    def write(self, name: str, text: str) -> None:
        """Write the file unless it already holds exactly this."""
        if self.read(name) != text:
            mode, gid = self._rights()[name]
            write_atomic(self.root / name, text, mode, self.owners.uid, gid)
            self.changed.append(name)

    def keep(self, name: str, value: str) -> None:
        """Write a file that the table does not have: a new secret (one line) that is not in use yet, for root alone."""
        write_atomic(self.root / name, f"{value}\n", "0600", self.owners.uid, self.owners.gid)

    def drop(self, name: str) -> None:
        """Remove a file if it is there."""
        path = self.root / name
        if path.is_symlink() or path.exists():
            path.unlink()
            sync_directory(path.parent)
            self.changed.append(f"{name} (removed)")

    def named(self, folder: str) -> list[str]:
        """The names in a folder of secrets, sorted. A leading dot is an unfinished write's."""
        try:
            return sorted(path.name for path in (self.root / folder).iterdir() if not path.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def make_folders(self) -> None:
        for name, mode, _, gid in directories():
            path = self.root / name
            if not path.is_dir():
                path.unlink(missing_ok=True)
                path.mkdir(mode=0o700, parents=name == ".")
                self.changed.append(f"{name}/")
            self._repair(path, f"{name}/", mode, self._gid(gid))

    def repair_rights(self) -> None:
        for name, (mode, gid) in self._rights().items():
            if (self.root / name).exists():
                self._repair(self.root / name, name, mode, gid)

    def _repair(self, path: Path, name: str, mode: str, gid: int) -> None:
        status = path.lstat()
        if (status.st_uid, status.st_gid) != (self.owners.uid, gid):
            os.chown(path, self.owners.uid, gid, follow_symlinks=False)
        elif f"{status.st_mode & 0o7777:04o}" == mode:
            return
        path.chmod(int(mode, 8))
        if name not in self.changed:
            self.changed.append(name)

    def _rights(self) -> dict[str, tuple[str, int]]:
        return {name: (mode, self._gid(gid)) for name, mode, _, gid in files(self.users, self.clients, OPTIONAL)}

    def _gid(self, gid: int) -> int:
        return {EDGE_GID: self.owners.edge_gid, GATE_GID: self.owners.gate_gid}.get(gid, self.owners.gid)
