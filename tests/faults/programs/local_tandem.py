"""tandemctl, the guard and the prober on a host at another root: local_tandem.py ROOT [--quick] WORD...

``--quick``: the guard looks five times a second and waits as much shorter; what it decides is untouched.
"""

import sys
from functools import partial
from pathlib import Path

from tandem.hostside import engines, guard, hands, idle, prober, state, tandemctl
from tandem.hostside.paths import Paths


def quicken() -> None:
    guard.TICK_SECONDS = 0.2  # type: ignore[misc]
    hands.QUIET_SECONDS = 0.3  # type: ignore[misc]
    hands.REPAIR_SECONDS = 1.0  # type: ignore[misc]
    hands.RESTART_SECONDS = (8.0, 16.0)  # type: ignore[misc, assignment]
    idle.AGAIN_SECONDS = 0.3  # type: ignore[misc]
    idle.TIMEOUT_SECONDS = 1.5  # type: ignore[misc]
    engines.Pace = partial(engines.Pace, 0.2, 0.3)  # type: ignore[assignment,misc]


def main(root: Path, words: list[str]) -> int:
    paths = Paths(root)
    state.BOOT_ID = root / "boot_id"
    if words[:1] == ["--quick"]:
        words = words[1:]
        quicken()
    if words == ["prober"]:
        return prober.main(paths)
    return tandemctl.main(words, paths)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
