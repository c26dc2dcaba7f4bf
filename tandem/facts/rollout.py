"""What ``tandemctl`` says of a rollout."""

from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import if_installed, tandemctl
from tandem.facts.answer import Answer


class Situation(Answer):
    """As ``CtlStatus``; {"unreadable": true} where the record is damaged, so that one can still go back."""

    program = "tandemctl status"

    def command(self, question: Any = None) -> StringCommand:
        return if_installed(StringCommand(tandemctl("status", "--json"), "|| echo '{\"unreadable\": true}'"))


class Report(Answer):
    """Everything about the rollout under way, or the last one; {} where there was none yet."""

    program = "tandemctl report"

    def command(self, question: Any = None) -> StringCommand:
        return if_installed(StringCommand(tandemctl("report", "--json"), "|| echo '{}'"))
