"""Firewall rules and sshd settings: tried first, and kept only when a new SSH connection works with them."""

import time
from collections.abc import Generator
from dataclasses import asdict
from typing import Any, TypeAlias

import pyinfra
from paramiko import SSHException
from pyinfra import host
from pyinfra.api import FunctionCommand, OperationError, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import clear_askpass_cache

from tandem import journal
from tandem.commands import host_program
from tandem.domain.firewall import Wanted, decide
from tandem.facts.firewall import FirewallState
from tandem.operations.live import LiveCommand
from tandem.reboot import quiet_paramiko

Commands: TypeAlias = Generator[PyinfraCommand, None, None]
LONGER_SECONDS = 30
"""How much longer than the trial a connection is waited for: the one that finds the old rules back says so."""


@operation()
def guard(wanted: Wanted, confirm_seconds: int) -> Commands:
    """Puts rules and sshd settings in force for ``confirm_seconds``, and for good when a new SSH connection confirms.

    Without that (a lost connection, an operator who is gone, a reboot) the host goes back to what it had by itself.

    + wanted: both texts; empty ones remove what an earlier run made
    """
    seen = host.get_fact(FirewallState, question=asdict(wanted))
    work = decide(wanted, seen)
    if work.refusal:
        raise OperationError(work.refusal)
    if not work.due:
        host.noop("the firewall is as wanted" if wanted.rules else "there is no firewall of ours")
        return
    for sentence in work.due:
        journal.note(host, sentence)
    journal.remark(
        host,
        f"firewall rules and SSH settings are tried for {confirm_seconds} s and kept if a new SSH connection works; "
        "else the host takes them back by itself",
    )
    job = {**asdict(wanted), "confirm_seconds": confirm_seconds}
    yield LiveCommand(host_program("firewall", {"phase": "try", **job}))
    yield FunctionCommand(_connect_anew, (confirm_seconds + LONGER_SECONDS,), {})
    yield LiveCommand(host_program("firewall", {"phase": "confirm"}))


def _connect_anew(state: Any, host: Host, limit_seconds: int) -> bool:
    """Ends the connection and makes another one: the old one would go on under any rules."""
    clear_askpass_cache(host)
    client = getattr(host.connector, "client", None)
    if client is not None:
        client.close()
    ends = time.monotonic() + limit_seconds
    while time.monotonic() < ends:
        try:
            host.disconnect()
            with quiet_paramiko():
                host.connect(reason="anew, to confirm", show_errors=False)
        except (OSError, EOFError, SSHException) as error:
            pyinfra.logger.debug(f"{host.name} does not answer: {error}")
        if host.connected:
            return True
        time.sleep(1)
    pyinfra.logger.error(
        f"[{host.name}] no new SSH connection for {limit_seconds} s; the host has taken the new rules back by itself, "
        "and still does not answer: look at its console"
    )
    return False
