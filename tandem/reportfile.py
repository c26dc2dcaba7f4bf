"""The comparison report on disk: ``runs/<run>-<host>/report.html`` and ``report.json``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from tandem import journal
from tandem.facts.rollout import Report
from tandem.report import html

NONE = "the host has no report of a rollout: `sudo tandemctl report --json` there says why"


def fetch(host: Host, folder: Path) -> str:
    """Brings the report of ``host`` into ``folder``; a sentence that says where it is, or why there is none."""
    report = host.get_fact(Report)
    if not report:
        return NONE
    try:
        page = save(report, folder)
    except OSError as error:
        return (
            f"the report could not be written to {folder}: {error.strerror}. Run from a folder that you can write to."
        )
    return f"report: {journal.RUNS_FOLDER}/{folder.name}/{page.name}"


def folder(command: str, host: Host) -> Path:
    """Where this run keeps what it brings from ``host``: beside its record."""
    record = journal.start(command).record.path
    return record.with_name(f"{record.stem}-{host.name.strip('@').replace('/', '-')}")


def save(report: Mapping[str, Any], place: Path) -> Path:
    """Writes both files for their owner only and returns the path of the page."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    page = place / "report.html"
    for path, text in ((place / "report.json", json.dumps(report) + "\n"), (page, html(report))):
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            file.write(text)
    return page


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
