"""``pytest --update-golden`` rewrites the files under tests/golden/tree; review them as a diff before they go in."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/tree from what is rendered now")
