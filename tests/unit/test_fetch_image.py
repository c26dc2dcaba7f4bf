"""An image is brought for as long as anything comes, and a source that is silent is given up."""

import sys

import pytest

from tandem.hostside.fetch_image import watched

SLOW = "import os, time\nfor _ in range(12):\n    os.write(1, b'x')\n    time.sleep(0.1)"


def test_a_slow_source_has_all_the_time_that_it_needs_and_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched([sys.executable, "-c", SLOW], 0.6, 0.3, 0.05) == ""
    assert "still bringing it (0 s so far)" in capsys.readouterr().out


def test_a_silent_source_is_given_up() -> None:
    said = watched([sys.executable, "-c", "import time; time.sleep(60)"], 0.6, 60, 0.05)
    assert said.startswith("nothing came for 1 s, so it was given up after ")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('first\\nmanifest unknown')", "manifest unknown"),
        ("import sys; sys.exit(3)", "no reason given"),
    ],
)
def test_a_source_that_fails_is_told_in_its_own_last_line(program: str, said: str) -> None:
    assert watched([sys.executable, "-c", program], 60, 60, 0.05) == said
