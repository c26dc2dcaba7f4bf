from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import host_program
from tandem.facts.answer import Answer


class DoctorState(Answer):
    """Everything that decides whether this host can be provisioned, asked before anything is touched.

    Ask it with ``_sudo=False``: it takes root by itself, and answers {"missing": "python3"}, "sudo program" or "sudo"
    where it can't go on.
    """

    program = "observe_doctor"

    def command(self, question: Any = None) -> StringCommand:
        return StringCommand(
            'if ! command -v python3 >/dev/null; then echo \'{"missing": "python3"}\';',
            'elif ! command -v sudo >/dev/null; then echo \'{"missing": "sudo program"}\';',
            'elif [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then echo \'{"missing": "sudo"}\';',
            'else $([ "$(id -u)" = 0 ] || echo sudo -n)',
            host_program(self.program, question),
            "; fi",
        )
