"""Runs on the host as root, standard library only: which WebUI is in which slot, and what the last trial measured.

Output: one JSON line {"slots": {slot: {"image", "parked"}}, "trial": {...} or null, "gap_seconds": number or null}.
``image`` is null for a slot without a unit.
"""

import json
import os
import re
from typing import Any

from tandem.domain.slots import SLOTS, webui_unit

UNITS = "/etc/containers/systemd"
PARKED = "/var/lib/tandem/parked"
RECORD = "/var/lib/tandem/webui/switch.json"


def main() -> None:
    record = _record()
    print(json.dumps({"slots": {slot: _slot(slot) for slot in SLOTS}, **record}))


def _slot(slot: str) -> dict[str, Any]:
    unit = webui_unit(slot)
    try:
        with open(f"{UNITS}/{unit}.container", encoding="utf-8") as file:
            found = re.search(r"^Image=(.*)$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        found = None
    return {"image": found[1] if found else None, "parked": os.path.exists(f"{PARKED}/{unit}")}


def _record() -> dict[str, Any]:
    try:
        with open(RECORD, encoding="utf-8") as file:
            found = json.load(file)
        return {"trial": found["trial"], "gap_seconds": found["gap_seconds"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"trial": None, "gap_seconds": None}


if __name__ == "__main__":
    main()
