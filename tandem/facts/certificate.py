from typing import Any

from pyinfra.api import StringCommand

from tandem.commands import if_installed, tandemctl
from tandem.facts.answer import Answer


class CertificateDue(Answer):
    """{"due", "sentence", "order"}: whether ``tandemctl certificate renew`` would do something, and for what order.

    {} on a host whose tandemctl does not know that yet.
    """

    program = "tandemctl certificate renew"

    def command(self, question: Any = None) -> StringCommand:
        look = tandemctl("certificate", "renew", "--dry", "--json")
        return if_installed(StringCommand(look, "2>/dev/null || echo '{}'"))
