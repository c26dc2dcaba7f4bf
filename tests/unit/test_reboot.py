"""Waiting for a host that is not up yet shows no traceback."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest

from tandem.reboot import quiet_paramiko


@contextlib.contextmanager
def hanging_up() -> Iterator[int]:
    """A server that hangs up at once, as sshd's socket does while the system starts; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def connect(port: int) -> None:
    transport = paramiko.Transport(("127.0.0.1", port))
    with pytest.raises((paramiko.SSHException, EOFError)):
        transport.start_client(timeout=5)
    transport.join(5)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_server_that_hangs_up_is_told_by_paramiko_only_outside_of_a_wait(
    quiet: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with hanging_up() as port, quiet_paramiko() if quiet else contextlib.nullcontext():
        connect(port)
    assert bool([one for one in caplog.records if one.levelno >= logging.ERROR]) is not quiet
    assert logging.getLogger("paramiko").level != logging.CRITICAL
