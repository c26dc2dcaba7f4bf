"""JSON with one value after another missing, or of another kind."""

import copy
import random
from collections.abc import Iterator
from typing import Any

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, float("nan"), float("inf"), -float("inf"), 10**400, 1e308, "", "x" * 5000,
    "\x1b[31m<b>&\n\u202e", [], [None], [[]], [float("nan")], {}, {"": None}, {"release": []},
)  # fmt: skip


def spoiled(whole: Any, tries: int, seed: int) -> Iterator[Any]:
    """``tries`` copies, each with one to five values at any depth removed or replaced by something strange."""
    rng = random.Random(seed)  # noqa: S311
    for _ in range(tries):
        copied = copy.deepcopy(whole)
        for _ in range(rng.randint(1, 5)):
            _spoil(copied, rng)
        yield copied


def _spoil(value: Any, rng: random.Random) -> None:
    places = list(value) if isinstance(value, dict) else range(len(value))
    if not places:
        return
    place = rng.choice(list(places))
    if isinstance(value[place], (dict, list)) and rng.random() < 0.75:
        _spoil(value[place], rng)
    elif rng.random() < 0.3:
        del value[place]
    else:
        value[place] = copy.deepcopy(rng.choice(STRANGE))
