from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import if_understood, tandemctl
from tandem.facts.answer import Answer


class Unneeded(Answer):
    """What on the host no kept release uses, as ``tandemctl cleanup list`` says it; {} where that is not known yet.

    What is declared comes by ``_stdin``.
    """

    program = "tandemctl cleanup list"

    def command(self, question: Any = None) -> StringCommand:
        return if_understood(tandemctl("cleanup", "list", "--json"))
