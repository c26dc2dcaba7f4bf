"""How a release is named on pyinfra's command line. Pure."""

import json
from contextlib import suppress
from typing import Final

RUN: Final = "pyinfra INVENTORY deploys"


def option(release: str) -> str:
    """``release=NAME`` for --data, quoted where pyinfra would read the name as a number, for example."""
    for read in (int, json.loads):
        with suppress(ValueError):
            read(release)
            return f"'release=\"{release}\"'"
    return f"release={release}"
