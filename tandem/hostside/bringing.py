"""One file after the other from a source to the folder of incoming files, verified there."""

import os
import time

from tandem.domain.weights import Wanted, size
from tandem.hostside.download import Net, Stopped, Unavailable, Unreachable
from tandem.hostside.files import sync_directory
from tandem.hostside.model_files import Held, link_equal, quarantine, sha256, state
from tandem.hostside.model_sources import Source
from tandem.hostside.telling import Progress, tell


class Mismatch(Exception):
    """A source gave a whole file with another hash. The message says where it is kept."""


class Bench:
    """The folder of incoming files of one model: NAME.part is on its way, NAME has the right hash."""

    def __init__(self, directory: str, incoming: str, progress: Progress) -> None:
        self.directory, self.incoming, self.progress = directory, incoming, progress
        self._unreachable: dict[str, str] = {}

    def path(self, file: Wanted) -> str:
        return f"{self.incoming}/{file.name}"

    def has(self, file: Wanted) -> bool:
        """An earlier run brought it, and its hash is still right."""
        right = state(self.incoming, file, None) == "right"
        if right:
            tell(f"{file.name}: {size(file.bytes)} are here already")
        return right

    def has_come(self, file: Wanted) -> bool:
        return os.path.isfile(self.path(file))

    def shares(self, file: Wanted, donors: Held) -> bool:
        if self.has_come(file):  # of a wrong hash, or ``has`` were true
            os.remove(self.path(file))
        shared = link_equal(file, self.path(file), donors)
        if shared:
            tell(f"{file.name}: {size(file.bytes)} shared with another model")
        return shared

    def size_of_part(self, file: Wanted) -> int:
        try:
            found = os.path.getsize(f"{self.path(file)}.part")
        except FileNotFoundError:
            return 0
        return found if found <= file.bytes else 0

    def start(self, missing: list[Wanted]) -> None:
        self.progress.total = sum(file.bytes for file in missing)
        self.progress.done = sum(self.size_of_part(file) for file in missing)
        if missing:
            here = f", of which {size(self.progress.done)} are here already" if self.progress.done else ""
            tell(f"fetching {len(missing)} files, {size(self.progress.total)}{here}")

    def bring(self, source: Source, file: Wanted, net: Net) -> None:
        """Raises Unavailable, or Mismatch after everything else was told to stop."""
        if source.label in self._unreachable:
            raise Unavailable(self._unreachable[source.label])
        if net.stop.is_set():
            raise Stopped
        began = time.monotonic()
        pieced = self._make_part(file) > 0
        try:
            source.bring(file, f"{self.path(file)}.part")
            if pieced and not self._take(file):
                # Pieces of another file, or of a power cut: worth one whole try.
                tell(f"{file.name}: its pieces do not make the whole; fetching it anew")
                self._set_aside(file)
                self.progress.add(-file.bytes)
                self._make_part(file)
                source.bring(file, f"{self.path(file)}.part")
        except Unreachable as error:
            self._unreachable[source.label] = str(error)
            raise
        if not self.has_come(file) and not self._take(file):
            net.stop.set()
            raise Mismatch(self._refusal(source, file))
        tell(f"{file.name}: {size(file.bytes)} verified after {time.monotonic() - began:.1f} s")

    def _make_part(self, file: Wanted) -> int:
        """How much of it is there already."""
        part = f"{self.path(file)}.part"
        os.makedirs(os.path.dirname(part), exist_ok=True)
        with open(part, "ab") as made:
            if made.tell() > file.bytes:
                made.truncate(0)
            return os.path.getsize(part)

    def _take(self, file: Wanted) -> bool:
        """Part becomes file when the hash of the whole is right."""
        part = f"{self.path(file)}.part"
        if os.path.getsize(part) != file.bytes or sha256(part) != file.sha256:
            return False
        with open(part, "rb") as whole:
            os.fchmod(whole.fileno(), 0o644)
            os.fsync(whole.fileno())
        os.rename(part, self.path(file))
        sync_directory(os.path.dirname(part))
        return True

    def _set_aside(self, file: Wanted) -> tuple[str, str]:
        """The bad file's SHA-256, and where it is kept."""
        part = f"{self.path(file)}.part"
        seen = sha256(part)
        return seen, quarantine(self.directory, part, seen)

    def _refusal(self, source: Source, file: Wanted) -> str:
        seen, kept = self._set_aside(file)
        return (
            f"{source.label}: {file.name}: its SHA-256 is {seen}, the release says {file.sha256}\n"
            f"the copy is at {kept}; nothing was published: correct the source or the release's manifest"
        )
