"""Restarts a host in the middle of a run and comes back to it."""

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pyinfra
from paramiko import SSHException
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import clear_askpass_cache

LIMIT_SECONDS = 900
"""Servers test their memory for minutes before they boot."""
FIRST_LOOK_SECONDS = 3
LOOK_EVERY_SECONDS = 2


def reboot(boot_id: str) -> Generator[PyinfraCommand, None, None]:
    """Reboots and waits until the host answers with another boot id; fails, with a sentence, when it does not."""
    # In a transient unit of its own: it outlives the SSH session, which closes before the host goes down.
    yield StringCommand("systemd-run --quiet --collect --on-active=1 systemctl reboot")
    yield FunctionCommand(_come_back, (boot_id,), {})


def _come_back(state: Any, host: Host, boot_id: str) -> bool:
    began = time.monotonic()
    clear_askpass_cache(host)
    minutes = LIMIT_SECONDS // 60
    pyinfra.logger.info(f"{host.print_prefix}reboots now; waiting up to {minutes} minutes for it to come back")
    time.sleep(FIRST_LOOK_SECONDS)
    while time.monotonic() - began < LIMIT_SECONDS:
        if _boot_id(host) not in ("", boot_id):
            pyinfra.logger.info(f"{host.print_prefix}back after {time.monotonic() - began:.0f} s")
            return True
        time.sleep(LOOK_EVERY_SECONDS)
    pyinfra.logger.error(
        f"[{host.name}] did not come back within {LIMIT_SECONDS} s of its reboot: look at its console. What was done "
        "stays; when it answers again, run the same command again"
    )
    return False


def _boot_id(host: Host) -> str:
    """The host's boot id over a new connection; "" while it does not answer. A fact that fails would end the run."""
    try:
        host.disconnect()
        with quiet_paramiko():
            host.connect(show_errors=False)
        if not host.connected:
            return ""
        ok, output = host.run_shell_command(StringCommand("cat /proc/sys/kernel/random/boot_id"), _timeout=15)
        return output.stdout.strip() if ok else ""
    except (OSError, EOFError, SSHException) as error:
        pyinfra.logger.debug(f"{host.name} is not back: {error}")
        return ""


@contextmanager
def quiet_paramiko() -> Iterator[None]:
    """While a host is waited for: paramiko prints a traceback for each server that hangs up before it is ready."""
    log = logging.getLogger("paramiko")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
