"""What is asked of a rollout: the order that begins it, and ``--data move=...`` under way. Pure."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from tandem.domain.refused import Refused

WORDS: Final = ("hold", "resume", "finish")


def fingerprint(order: Mapping[str, Any]) -> str:
    """The same for the same order, on both ends of the wire."""
    return sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()[:16]


def steering(value: object, why: str = "") -> list[str]:
    """The words after ``tandemctl upgrade``. ``why`` is kept with a hold. Raises Refused for what is no order."""
    if value == "hold":
        return ["hold", *([f"--why={why}"] if why else [])]
    if value in WORDS:
        return [str(value)]
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return ["move", "--weight", str(value)]
    raise Refused(
        f"--data move={value} is not known. Nothing was changed. Give a share from 1 to 100, {', '.join(WORDS)}; "
        "to take all away, run deploys/rollback.py."
    )
