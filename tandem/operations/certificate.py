"""The edge's certificate from an ACME authority, got by the host itself."""

from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import tandemctl
from tandem.facts.certificate import CertificateDue
from tandem.operations.live import Commands, LiveCommand


@operation()
def obtain(wanted: Mapping[str, Any]) -> Commands:
    """Gets the certificate from its authority, if the one in use is another or ends soon.

    + wanted: the content of certificate.json, which the host has by now
    """
    seen = host.get_fact(CertificateDue)
    if seen and not seen["due"] and seen["order"] == wanted:
        host.noop(seen["sentence"])
        return
    journal.note(host, f"got a certificate from {wanted['certificate']['directory']}")
    yield LiveCommand(tandemctl("certificate", "renew"))
