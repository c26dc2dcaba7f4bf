"""The run record on disk: ``runs/<UTC time>-<name>.jsonl``."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import DeployError

from tandem.summary import hide


class Record:
    """A JSON-lines file, mode 0600, one event per line, each written before the next thing happens.

    ``secrets`` may grow while the record is written; none of them gets into it. DeployError when it cannot be created.
    """

    def __init__(self, folder: Path, name: str, secrets: set[str]) -> None:
        self.secrets = secrets
        stem = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self.path, self.file = self._create(folder, stem)
        except OSError as error:
            raise DeployError(
                f"cannot write the run record in {folder}: {error.strerror}. Run from a folder that you can write to; "
                "nothing was changed."
            ) from error

    @staticmethod
    def _create(folder: Path, stem: str) -> tuple[Path, int]:
        number = 1
        while True:
            path = folder / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
            with suppress(FileExistsError):
                return path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            number += 1

    def write(self, event: str, **values: Any) -> None:
        """Append one event. A full disk does not stop the run: the record ends there, and that is said once."""
        if self.file < 0:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"event": event, "at": at, **self._hidden(values)}, ensure_ascii=False)
        try:
            os.write(self.file, line.encode(errors="replace") + b"\n")
        except OSError as error:
            self.close()
            print(f"tandem: the run record {self.path} ends here: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
        self.file = -1

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return hide(value, self.secrets)
        if isinstance(value, list):
            return [self._hidden(item) for item in value]
        if isinstance(value, dict):
            return {key: self._hidden(item) for key, item in value.items()}
        return value
