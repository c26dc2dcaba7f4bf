"""What can go wrong between the operator and the host, said in one sentence each.

``watch()`` is one line at the top of an inventory, or of ``config.py`` in the working folder. It makes every run that
could not begin end with its reason, "Nothing was changed", and an exit status other than 0. pyinfra alone prints
"No hosts remaining!" for all of them, and ends with status 0 when there is no host at all and on Ctrl-C.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import click
import pyinfra
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.util import CommandOutput, OutputLine

from tandem.interruption import current_state, exit_nonzero_on_signals, interruption
from tandem.summary import hide

NOTHING_CHANGED = "Nothing was changed."
TAIL_LINES = 25


class RunNotStarted(click.ClickException):
    """The run ended before any operation; ``show`` is what the operator reads last. Exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"\ntandem: {self.message}", err=True)


@dataclass
class Meter:
    """What one host cost: shell commands (facts included) and file transfers since it was attached.

    ``failed_lines`` is the output of the last command that failed, ``problem`` a sentence when the cause is known.
    """

    commands: int = 0
    failed_commands: int = 0
    transfers: int = 0
    failed_lines: list[str] = field(default_factory=list)
    problem: str | None = None


class Said(logging.Handler):
    """Keeps the last warnings and errors that pyinfra logged, as plain text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: deque[str] = deque(maxlen=200)
        self.error: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text = click.unstyle(record.getMessage())
        self.lines.append(text)
        if record.levelno >= logging.ERROR or text.startswith("-->"):
            self.error = text.removeprefix("--> ").strip().rstrip(":")


def watch() -> None:
    """Make this pyinfra run end with a clear sentence when it cannot begin. Idle outside the pyinfra command."""
    context = click.get_current_context(silent=True)
    if context is None or context.meta.get(__name__):
        return
    context.meta[__name__] = True
    said = Said()
    pyinfra.logger.addHandler(said)
    exit_nonzero_on_signals()
    context.call_on_close(lambda: _judge(said))


def _judge(said: Said) -> None:
    """Called while pyinfra ends: an exception raised here replaces pyinfra's own ending."""
    state = current_state()
    if state is None or state.current_stage < StateStage.Connect:
        return
    ending = sys.exc_info()[1]
    if interruption.signal_number is not None:
        if state.current_stage == StateStage.Connect:
            click.echo(f"\ntandem: interrupted while connecting. {NOTHING_CHANGED}", err=True)
        return
    problems = connect_problems(state, said.lines)
    if problems:
        # The half-made connection is torn down after this, and paramiko would print a traceback about it.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    if state.activated_hosts:
        for problem in problems:
            click.echo(f"tandem: {problem} On this host nothing was changed.", err=True)
    elif problems:
        raise RunNotStarted("\n  ".join([*problems, NOTHING_CHANGED]))
    elif isinstance(ending, click.ClickException):
        raise RunNotStarted(f"cannot connect: {ending.message}\n  {NOTHING_CHANGED}")
    elif isinstance(ending, SystemExit) and not ending.code:
        raise RunNotStarted(
            "no hosts: the inventory file does not exist or lists none, or --limit and --exclude leave none. "
            f"{NOTHING_CHANGED}"
        )


def connect_problems(state: State, lines: deque[str]) -> list[str]:
    """One sentence per host that could not be connected, from what pyinfra logged as ``[HOST] reason``."""
    problems = []
    for host in state.inventory:
        if host in state.activated_hosts or not state.is_host_in_limit(host):
            continue
        prefix = f"[{host.name}]"
        reasons = [line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)]
        if reasons:
            problems.append(explain(host.name, reasons[-1], {key: host.data.get(key) for key in _SSH_KEYS}))
    return problems


_SSH_KEYS = ("ssh_hostname", "ssh_port", "ssh_user", "ssh_key", "ssh_known_hosts_file")


def explain(name: str, reason: str, ssh: dict[str, Any]) -> str:
    """The operator's sentence for pyinfra's ``reason`` why host ``name`` could not be connected."""
    address, port = ssh.get("ssh_hostname") or name, ssh.get("ssh_port") or 22
    known_hosts = ssh.get("ssh_known_hosts_file") or "~/.ssh/known_hosts"
    entry = address if port == 22 else f"[{address}]:{port}"
    if reason.startswith("Could not connect"):
        sentence = f"nothing answers SSH at {address} port {port}. Is the machine on, and are address and port right?"
    elif reason.startswith("Could not resolve"):
        sentence = f"the name {address} does not resolve to an address. Check ssh_hostname in the inventory."
    elif reason.startswith("SSH host key error"):
        sentence = (
            f"wrong host key: {address} port {port} does not own the key pinned in {known_hosts}. The machine was "
            "reinstalled, or another one answers. Compare the key at its console; only if it is right: "
            f"ssh-keygen -R '{entry}' -f {known_hosts}, then pin the new key."
        )
    elif "No host key for" in reason:
        sentence = (
            f"no host key is pinned for {entry} in {known_hosts}. Read the key at the machine's console, or "
            f"`ssh-keyscan -p {port} {address}` and compare the fingerprint, and add it to that file."
        )
    elif "No existing session" in reason or "protocol banner" in reason:
        sentence = (
            f"what listens at {address} port {port} does not speak SSH. Is the port right, and is the machine alive? "
            "Look at its console."
        )
    elif reason.startswith("Authentication error"):
        key = ssh.get("ssh_key") or "the agent's and default keys"
        sentence = (
            f"{address} refused the login as {ssh.get('ssh_user') or 'the default user'} with {key}. "
            "Is the public key in that user's authorized_keys?"
        )
    else:
        sentence = "cannot connect."
    return f"{name}: {sentence} ({reason})"


def measure(host: Host, secrets: set[str]) -> Meter:
    """Count what ``host`` is asked from now on, and turn sudo and connection failures into sentences.

    pyinfra prints what a failed command said: ``secrets`` (which may grow) are hidden in it before.
    """
    meter, connector = Meter(), host.connector
    run, put, get = connector.run_shell_command, connector.put_file, connector.get_file

    def run_shell_command(command: Any, *args: Any, **kwargs: Any) -> tuple[bool, CommandOutput]:
        meter.commands += 1
        try:
            ok, output = run(command, *args, **kwargs)
        except EOFError:
            # pyinfra lets both kinds end as "internal exception": a password prompt without a terminal, a cut link.
            meter.problem = lost_link(host) or sudo_problem(host.name, ["sudo: a password is required"])
            ok, output = False, CommandOutput([OutputLine("stderr", meter.problem or "")])
        if not ok:
            meter.failed_commands += 1
            output = CommandOutput([OutputLine(line.buffer_name, hide(line.line, secrets)) for line in output])
            meter.failed_lines = output.output_lines[-TAIL_LINES:]
            if kwargs.get("_sudo"):
                meter.problem = sudo_problem(host.name, output.output_lines) or meter.problem
        return ok, output

    def put_file(*args: Any, **kwargs: Any) -> bool:
        meter.transfers += 1
        return bool(put(*args, **kwargs))

    def get_file(*args: Any, **kwargs: Any) -> bool:
        meter.transfers += 1
        return bool(get(*args, **kwargs))

    for wrapper in (run_shell_command, put_file, get_file):
        setattr(connector, wrapper.__name__, wrapper)
    return meter


_SUDO_PROBLEMS = (
    (r"sudo: (command )?not found", "sudo is not installed there: install it, or log in as root without _sudo"),
    (
        r"sudo(-rs)?: (a password is required|interactive authentication is required)",
        "sudo asks for a password and there is no terminal to ask on: allow this user sudo without password, "
        "log in as root, or run in a terminal",
    ),
    (r"is not in the sudoers file|is not allowed to (execute|run) ", "this user may not use sudo"),
    (r"sudo: \d+ incorrect password", "sudo refused the password"),
)


def sudo_problem(name: str, lines: list[str]) -> str | None:
    """A sentence when the ``lines`` that a failed sudo command printed say that sudo itself did not work."""
    for pattern, sentence in _SUDO_PROBLEMS:
        if any(re.search(pattern, line) for line in lines[-3:]):
            return f"{name}: {sentence}."
    return None


def lost_link(host: Host) -> str | None:
    """A sentence when the SSH connection to ``host`` is gone, None while it stands or for other connectors."""
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if client is None or (transport is not None and transport.is_active()):
        return None
    return f"{host.name}: the SSH connection was lost; what the host was doing may still be running there."
