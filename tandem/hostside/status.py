"""All that `tandemctl status` knows, gathered in one look."""

import json
import re
from contextlib import suppress
from typing import Any, Final

from tandem.domain import screen
from tandem.hostside import backup_record, lock, secrets_commands, traffic
from tandem.hostside import state as record
from tandem.hostside.asking import run
from tandem.hostside.paths import Paths
from tandem.hostside.sight import boot_seconds, guard_age_seconds, read_sight

SERVING: Final = re.compile(r'"event": "result".*?"serving": ("\w+")')
"""In a line of the history: the slot that serves from then on. The whole of it is megabytes after some upgrades."""

SMI = ("nvidia-smi", "--query-gpu=index,name,memory.used,memory.total", "--format=csv,noheader,nounits")


def gather(paths: Paths) -> dict[str, Any]:
    """The record of the state and what is seen beside it; see ``domain.screen.lines``."""
    now = record.load(paths.state)
    return {
        **record.to_record(now),
        "guard": read_sight(paths),
        "guard_age_seconds": guard_age_seconds(paths),
        "now_boot_seconds": round(boot_seconds(), 1),
        "serving_since": _since(now.past.at if now.past and now.past.outcome == "finished" else None, paths),
        "cards": _cards(),
        "backup": backup_record.look(paths),
        "split_differs": traffic.differing(now, paths),
        "lock_holder": lock.holder(paths.lock),
        "secrets_revisions": secrets_commands.revisions(paths),
    }


def lines(found: dict[str, Any], paths: Paths) -> list[str]:
    """For a person."""
    shown = screen.lines(found)
    if paths.driver_mismatch.exists():
        shown.append(paths.driver_mismatch.read_text().rstrip())
    return shown


def _since(finished: str | None, paths: Paths) -> str | None:
    """When what serves began to serve: the end of the last upgrade, else when the history first has it in its slot."""
    if finished:
        return finished
    serving, since = "", None
    with suppress(OSError, ValueError, KeyError), open(paths.history, encoding="utf-8") as history:
        for line in history:
            found = SERVING.search(line)
            if found and found[1] != serving:
                serving, since = found[1], str(json.loads(line)["at"])
    return since


def _cards() -> list[dict[str, Any]]:
    status, text = run(*SMI)
    if status:
        return []
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 4 and all(words[place].isdecimal() for place in (0, 2, 3)):
            found.append(
                {
                    "index": int(words[0]),
                    "name": words[1],
                    "memory_used_mib": int(words[2]),
                    "memory_total_mib": int(words[3]),
                }
            )
    return found
