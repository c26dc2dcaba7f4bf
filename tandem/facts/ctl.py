"""What ``tandemctl`` says of its host; {} where it is not installed yet."""

from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import if_installed, if_understood, tandemctl
from tandem.facts.answer import Answer


class CtlStatus(Answer):
    """The recorded state and which split files differ from it."""

    program = "tandemctl status"

    def command(self, question: Any = None) -> StringCommand:
        return if_installed(tandemctl("status", "--json"))


class SecretsDue(Answer):
    """{"changed": [names of the secrets that `secrets ensure` would make or change], "gate_behind": whether the gate
    has yet to read what there is}. Its order comes by ``_stdin``.
    """

    program = "tandemctl secrets ensure"

    def command(self, question: Any = None) -> StringCommand:
        return if_understood(tandemctl("secrets", "ensure", "--dry", "--json"))


class SecretAges(Answer):
    """{name of a secret: its age in days}."""

    program = "tandemctl secrets list"

    def command(self, question: Any = None) -> StringCommand:
        return if_understood(tandemctl("secrets", "list", "--json"))


class Readiness(Answer):
    """{unit: {"ready", "seconds", "why"}} from one real completion per engine and one answer of the WebUI."""

    program = "tandemctl probe"

    def command(self, question: Any = None) -> StringCommand:
        """``question``: the words after ``tandemctl probe``."""
        return if_installed(tandemctl("probe", *question))
