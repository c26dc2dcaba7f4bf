"""How an upgrade goes is declared with plain defaults; what could never finish is refused in a sentence."""

from typing import Any

import pytest

from tandem.config import load
from tandem.domain.advance import Comparison, Pacing
from tests.unit.test_config import GOOD, changed, errors


def test_the_defaults_are_those_of_the_rollout_itself() -> None:
    upgrade, pacing, comparison = load(GOOD, host="gpu1").upgrade, Pacing(), Comparison()
    assert (upgrade.weights, upgrade.most_extensions) == (pacing.weights, pacing.most_extensions)
    assert (upgrade.window_seconds, upgrade.soak_seconds) == (pacing.window_seconds, pacing.soak_seconds)
    assert (upgrade.convert_at, upgrade.allow_gap) == ("soak_end", False)
    given = upgrade.comparison
    assert (given.pair_seconds, given.requests, given.pairs) == (
        comparison.pair_seconds,
        comparison.requests,
        comparison.pairs,
    )
    assert (given.least_cases, given.margin, given.hang_seconds) == (
        comparison.cases,
        comparison.margin,
        comparison.hang_seconds,
    )


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("weights", [10, 50], "10, 50 do not end with 100; the last share is all requests"),
        ("weights", [50, 10, 100], "50, 10, 100 do not grow; give each share once, the smallest first"),
        ("weights", [50, 50, 100], "50, 50, 100 do not grow; give each share once, the smallest first"),
        ("weights", [], "is empty; give at least 1"),
        ("weights", [0, 100], "upgrade/weights/0: 0 is too small; give 1 or more"),
        ("window_seconds", 0, "0 is too small; give 1 or more"),
        ("soak_seconds", -1, "-1 is too small; give 1 or more"),
        ("most_extensions", 101, "101 is too large; give 100 or less"),
        ("convert_at", "later", "'later' is not known; give 'soak_end' or 'full'"),
        ("allow_gap", "yes", "'yes' is text; give"),
        ("strategy", "recreate", "unknown name; "),
    ],
)
def test_what_could_never_finish_is_refused(path: str, value: Any, sentence: str) -> None:
    (error,) = errors(changed(f"upgrade/{path}", value))
    assert error.startswith(f"upgrade/{path}")
    assert sentence in error


@pytest.mark.parametrize("given", [{"most_extensions": 0}, {"window_seconds": 60}])
def test_a_comparison_that_would_be_held_before_it_could_end_is_refused(given: dict[str, int]) -> None:
    (error,) = errors(changed("upgrade", given))
    assert error.startswith("upgrade: ")
    assert "a comparison takes at least 650 s" in error
    paced = {**given, "window_seconds": 60, "most_extensions": 11, "comparison": {"pair_seconds": 10.0}}
    assert load(changed("upgrade", paced), host="gpu1").upgrade.most_extensions == 11


def test_every_accepted_pacing_is_one_that_a_rollout_takes() -> None:
    for weights in ([100], [1, 100], list(range(1, 101)), [10, 30, 50, 70, 90, 100]):
        given = load(changed("upgrade/weights", weights), host="gpu1").upgrade
        assert Pacing(given.weights).weights[-1] == 100
