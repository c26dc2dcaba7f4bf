"""What install told the guard about this host: /etc/tandem/guard.json."""

import json
import math
import sys
from dataclasses import dataclass, fields, replace
from typing import Any

from tandem.hostside.paths import Paths


@dataclass(frozen=True)
class Settings:
    """``hang_seconds``: an engine with work makes a token in this time; ``ready_seconds``: a new one completes a
    request in this time after its start; ``drain_seconds``: so long an answer may take; ``idle_seconds``: an engine
    that was asked nothing for so long is asked for a token.
    """

    hang_seconds: float = 120.0
    ready_seconds: float = 1800.0
    drain_seconds: float = 3600.0
    idle_seconds: float = 300.0


def load(paths: Paths) -> Settings:
    """The defaults stand for what is missing and for what can't be; of the latter one sentence goes to the log."""
    path, default = paths.guard_settings, Settings()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, RecursionError) as error:
        _log(f"{path} can't be read ({type(error).__name__})")
        return default
    if not isinstance(found, dict):
        _log(f"{path} holds no JSON object")
        return default
    given = {field.name: found[field.name] for field in fields(Settings) if field.name in found}
    wrong = sorted(name for name, value in given.items() if not _seconds(value))
    if wrong:
        _log(f"{path}: {', '.join(wrong)} must be a number of seconds above 0")
    return replace(default, **{name: float(value) for name, value in given.items() if name not in wrong})


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _log(problem: str) -> None:
    print(f"{problem}. It was left untouched; defaults are used. Run install again.", file=sys.stderr, flush=True)
