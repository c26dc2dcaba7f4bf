"""The folder of secrets on a host: its files by name, with the modes and owners of the table in domain/secrets."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tandem.domain.secrets import EDGE_GID, directories, files
from tandem.hostside.files import write_atomic


@dataclass(frozen=True)
class Owners:
    """Numeric owners: root and the edge's group. Tests that are not root give their own."""

    uid: int = 0
    gid: int = 0
    edge_gid: int = EDGE_GID


@dataclass
class Store:
    """The folder of secrets, and the names of those files that were written or repaired."""

    root: Path
    owners: Owners
    changed: list[str] = field(default_factory=list)

    def read(self, name: str) -> str | None:
        """The file's text; None if it is missing or not text."""
        try:
            return (self.root / name).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def secret(self, name: str) -> str:
        return (self.read(name) or "").strip()

    def write(self, name: str, text: str) -> None:
        """Write the file unless it already holds exactly this."""
        if self.read(name) != text:
            mode, gid = self._rights()[name]
            write_atomic(self.root / name, text, mode, self.owners.uid, gid)
            self.changed.append(name)

    def make_folders(self) -> None:
        for name, mode, _, gid in directories():
            path = self.root / name
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=name == ".")
                self.changed.append(f"{name}/")
            self._repair(path, f"{name}/", mode, self._gid(gid))

    def repair_rights(self) -> None:
        for name, (mode, gid) in self._rights().items():
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
        return {name: (mode, self._gid(gid)) for name, mode, _, gid in files()}

    def _gid(self, gid: int) -> int:
        return self.owners.edge_gid if gid == EDGE_GID else self.owners.gid
