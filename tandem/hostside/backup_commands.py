"""tandemctl's commands about backups. The key that opens one comes by standard input only and is never shown."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from tandem.domain.backup import size_text
from tandem.hostside import backup, backup_record, restore_key
from tandem.hostside import restore as restoring
from tandem.hostside.paths import Paths


def _run(options: argparse.Namespace, paths: Paths, who: str) -> None:
    _tell(backup.run(paths, who, _tell))


def _verify(options: argparse.Namespace, paths: Paths, who: str) -> None:
    _tell(backup.verify(paths, who, _tell))


def _list(options: argparse.Namespace, paths: Paths, who: str) -> None:
    found = backup_record.look(paths)
    if options.json:
        print(json.dumps(found))
        return
    for one in found["backups"]:
        print(f"{one['name']}: {size_text(one['size'])}")
    if last := found["record"].get("where"):
        print(f"the last good one: {last}, {found['record']['at']}; {found['record']['proof'] or 'not tried'}")
    for sentence in found["warnings"]:
        print(f"warning: {sentence}")


def _restore(options: argparse.Namespace, paths: Paths, who: str) -> None:
    if options.look:
        print(json.dumps(restoring.look(paths)))
        return
    if options.new_key:
        print(restore_key.new_key(paths, options.new_key))
        return
    archive = Path(options.archive)
    consent = {"replace": options.replace, "scratch": options.scratch}
    try:
        identity = "" if options.kept_key else sys.stdin.read()
        _tell(restoring.restore(paths, archive, identity, who, _tell, token=options.kept_key or "", **consent))
    finally:
        if options.remove:
            archive.unlink(missing_ok=True)


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, Paths, str], None]]] = {
    "backup run": _run,
    "backup verify": _verify,
    "backup list": _list,
    "restore": _restore,
}
"""By the words of the command line; the last argument is who does it."""


def _tell(line: str) -> None:
    # Whoever listens may be gone; what was begun goes on.
    with suppress(OSError):
        print(line, flush=True)
