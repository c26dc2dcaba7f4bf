"""Runs the real pyinfra command in a temporary folder, against this machine or an SSH server on a loopback port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = Path(sys.executable).with_name("pyinfra")


@dataclass
class Ended:
    status: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """What the operator reads last: from the last line that begins with ``tandem``."""
        return "tandem" + self.stderr.rpartition("\ntandem")[2]


def command(*arguments: str) -> list[str]:
    return [str(PYINFRA), *arguments]


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYINFRA_PROGRESS": "off", **extra}


def run(folder: Path, *arguments: str, **extra: str) -> Ended:
    """Run pyinfra in ``folder`` with nothing on standard input; ``extra`` is added to its environment."""
    # A session of its own has no terminal: a password prompt cannot wait for the person who runs the tests.
    ended = subprocess.run(
        command(*arguments), cwd=folder, env=environment(**extra), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """The events of every run record in ``folder``, oldest run first."""
    files = sorted((folder / "runs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def write_inventory(
    folder: Path, *, pin: paramiko.PKey | None, key: paramiko.PKey, port: int, more: Sequence[str] = ()
) -> None:
    """``inventory.py`` with the host gpu1 at a loopback ``port``, host key pinned to ``pin``, and ``more`` hosts."""
    key.write_private_key_file(str(folder / "key"))
    entry = f"[127.0.0.1]:{port} {pin.get_name()} {pin.get_base64()}\n" if pin else ""
    (folder / "known_hosts").write_text(entry)
    data = {
        "ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": "root", "ssh_key": str(folder / "key"),
        "ssh_known_hosts_file": str(folder / "known_hosts"), "ssh_strict_host_key_checking": "yes",
    }  # fmt: skip
    (folder / "inventory.py").write_text(
        f"from tandem import connection\nconnection.watch()\nhosts = {[('gpu1', data), *more]!r}\n"
    )


class _Server(paramiko.ServerInterface):
    def __init__(self, user_key: paramiko.PKey) -> None:
        self.user_key = user_key

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key == self.user_key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._execute, args=(channel, command), daemon=True).start()
        return True

    @staticmethod
    def _execute(channel: paramiko.Channel, command: bytes) -> None:
        if b"cut-the-link" in command:
            channel.get_transport().close()
            return
        ended = subprocess.run(["sh", "-c", command.decode()], capture_output=True, check=False)
        channel.sendall(ended.stdout)
        channel.sendall_stderr(ended.stderr)
        channel.send_exit_status(ended.returncode)
        channel.close()


@dataclass
class SshServer:
    port: int
    host_key: paramiko.PKey
    user_key: paramiko.PKey


@contextmanager
def ssh_server() -> Iterator[SshServer]:
    """An SSH server on a free loopback port, with keys of its own, that executes commands on this machine."""
    host_key, user_key = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transports: list[paramiko.Transport] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                transport = paramiko.Transport(connection)
                transport.add_server_key(host_key)
                transports.append(transport)
                transport.start_server(event=threading.Event(), server=_Server(user_key))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield SshServer(listener.getsockname()[1], host_key, user_key)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for transport in transports:
            transport.close()
