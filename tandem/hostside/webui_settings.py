"""Before each start of Open WebUI: the settings in its database that belong to this host are what its unit says."""

import json
from typing import Any, Final

from tandem.domain.webui_settings import FOLLOWING, MODEL, NAMES, URLS, mend
from tandem.hostside import sqlite_copy, webui_slots
from tandem.hostside.paths import Paths

READ: Final = f"SELECT key, value FROM config WHERE key IN ({', '.join('?' * len(NAMES))})"  # noqa: S608 - marks only
MADE: Final = "SELECT id FROM model WHERE base_model_id = ? AND is_active"
WRITE: Final = "INSERT INTO config (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
FORGET: Final = "DELETE FROM config WHERE key = ?"


def follow(slot: str, paths: Paths) -> list[str]:
    """Mend the database of a slot whose Open WebUI does not run; the names of what was changed.

    A first start and a database of a version that keeps its settings otherwise are left alone. Raises NotCopied
    (nothing was changed), or OSError with the path.
    """
    database = webui_slots.data(slot, paths) / "webui.db"
    if not database.exists() or not _by_name(database):
        return []
    names = (*FOLLOWING, MODEL[0], URLS[0])
    environment = {name: text for name in names if (text := webui_slots.said(slot, name, paths))}
    kept, made = sqlite_copy.ask(database, [(READ, NAMES), (MADE, [environment.get(MODEL[0], "")])])
    forget, put = mend(
        environment,
        paths.upstream_key.read_text(encoding="ascii").strip(),
        {name: _value(text) for name, text in kept},
        [row[0] for row in made],
    )
    changes: list[tuple[str, list[str]]] = [(FORGET, [name]) for name in forget]
    changes += [(WRITE, [name, json.dumps(value)]) for name, value in put.items()]
    if changes:
        sqlite_copy.ask(database, changes)
    return [*forget, *put]


def _by_name(database: Any) -> bool:
    """Whether each setting is a row of its own; older versions keep all of them in one."""
    rows = sqlite_copy.ask(database, [("PRAGMA table_info(config)", []), ("PRAGMA table_info(model)", [])])
    config, model = ({row[1] for row in columns} for columns in rows)
    return {"key", "value"} <= config and {"id", "base_model_id", "is_active"} <= model


def _value(text: Any) -> Any:
    """None for what is no JSON: it is worth nothing to Open WebUI either."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None
