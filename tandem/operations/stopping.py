"""Ending an operation in the middle, with a sentence."""

from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.host import Host


def stop(sentence: str) -> FunctionCommand:
    """A command that says why the operation can't go on, and fails. An exception would show a traceback instead."""
    return FunctionCommand(_say, (sentence,), {})


def _say(state: Any, host: Host, sentence: str) -> bool:
    # With the host's name in front the summary knows whose sentence it is.
    logger.error(f"[{host.name}] {sentence}")
    return False
