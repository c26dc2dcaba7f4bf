"""How backups are made on a host, and the timer that makes them. Pure; no secret: the keys are public halves."""

import json
from typing import Final

from tandem.config import Config
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import Directory, Entry, File, Tree

SETTINGS: Final = "/etc/tandem/backup.json"
WORK: Final = "/var/lib/tandem/backup"
UNIT: Final = "tandem-backup"


def render_backup(config: Config) -> Tree:
    """The settings, the timer and its service; nothing where no backups are wanted."""
    backup = config.backup
    if backup is None:
        return Tree()
    settings = {
        "recipients": list(backup.recipients),
        "directory": backup.directory,
        "keep": backup.keep.model_dump(),
        "target": list(backup.target.command) if backup.target else [],
        "verify": backup.verify,
        "warn_after_hours": backup.warn_after_hours,
    }
    entries: dict[str, Entry] = {
        SETTINGS: File(json.dumps(settings, indent=2) + "\n"),
        # Others pass through: the database is copied with its owner's rights.
        WORK: Directory("0711"),
        backup.directory: Directory("0700"),
        f"/etc/systemd/system/{UNIT}.service": File(
            render_template(f"backup/{UNIT}.service.j2", target=backup.target is not None, directory=backup.directory)
        ),
        f"/etc/systemd/system/{UNIT}.timer": File(render_template(f"backup/{UNIT}.timer.j2", hour=backup.hour)),
    }
    return Tree(entries)


def backup_units(config: Config) -> list[Unit]:
    if config.backup is None:
        return []
    return [Unit(f"{UNIT}.timer"), Unit(f"{UNIT}.service", enable=False, run=False)]
