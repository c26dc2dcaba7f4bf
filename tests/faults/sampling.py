"""The long tests: whole in the campaign or when their file is named, else some of each file, drawn by the seed."""

import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
WHOLE: Final = os.environ.get("TANDEM_CAMPAIGN") == "1"
SEED: Final = int(os.environ.get("TANDEM_SEED") or random.SystemRandom().randrange(10**6))
"""TANDEM_SEED, else one by chance; pytest's header shows it, so that a failure can be repeated."""

KEPT: Final = {
    "test_backup.py": 0,
    "test_engine_faults.py": 1,
    "test_upgrade_crash.py": 1,
    "test_upgrade_faults.py": 1,
    "test_upgrade_host.py": 1,
    "test_webui_settings.py": 0,
    "test_webui_upgrade.py": 0,
}
"""How many tests of a file `make test` runs. 0: the file's first host alone takes minutes."""


def split(config: pytest.Config, items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Those that run and those that do not, both in their order."""
    named = {Path(argument.partition("::")[0]).name for argument in config.args}
    found = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.path.parent == HERE:
            found[item.path.name].append(item)
    left_out = set[pytest.Item]()
    for name in sorted((found.keys() & KEPT.keys()) - named if not WHOLE else ()):
        # What only the campaign runs is not drawn, to be skipped then.
        tests = [item for item in found[name] if not item.get_closest_marker("skipif")]
        drawn = random.Random(f"{SEED} {name}").sample(tests, min(KEPT[name], len(tests)))  # noqa: S311 - repeatable
        left_out |= set(found[name]) - set(drawn)
    return [item for item in items if item not in left_out], [item for item in items if item in left_out]
