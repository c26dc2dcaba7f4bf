"""What ``tandemctl`` says of the backups of its host; {} where it is not installed or does not know them yet."""

from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import if_understood, tandemctl
from tandem.facts.answer import Answer


class Backups(Answer):
    """{"configured", "warnings": [sentences], "record": of the last one, "backups": [{"name", "size"}]}."""

    program = "tandemctl backup list"

    def command(self, question: Any = None) -> StringCommand:
        return if_understood(tandemctl("backup", "list", "--json"))


class Restorable(Answer):
    """{"slot": of the WebUI that serves or None, "users", "chats": what is there, "busy": what is under way}."""

    program = "tandemctl restore --look"

    def command(self, question: Any = None) -> StringCommand:
        return if_understood(tandemctl("restore", "--look"))
