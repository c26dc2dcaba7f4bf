from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tandem.connection import explain, sudo_problem
from tests.unit import real_pyinfra
from tests.unit.real_pyinfra import SshServer

DEPLOY = """
from pyinfra.operations import server
from tandem import journal
journal.start("install")
server.shell(name="Leave a mark", commands=["touch mark"])
server.shell(name="Cut the link", commands=["echo before; {command}"])
"""


@pytest.fixture(scope="module")
def ssh() -> Iterator[SshServer]:
    with real_pyinfra.ssh_server() as server:
        yield server


def write_inventory(folder: Path, *, pin: paramiko.PKey | None, key: paramiko.PKey, port: int) -> None:
    real_pyinfra.write_inventory(folder, pin=pin, key=key, port=port)
    (folder / "deploy.py").write_text(DEPLOY.format(command="true"))


def refused(folder: Path, *arguments: str) -> str:
    """The sentence that a run in ``folder`` ends with, twice the same, after changing nothing."""
    first, second = (real_pyinfra.run(folder, *(arguments or ("inventory.py", "deploy.py", "-y"))) for _ in range(2))
    assert (first.status, second.status) == (1, 1), first.stderr
    assert first.last_words == second.last_words
    assert first.last_words.rstrip().endswith("Nothing was changed.")
    assert "Traceback" not in first.last_words
    assert not (folder / "mark").exists()
    assert not (folder / "runs").exists()
    return first.last_words


def test_a_good_connection_says_nothing(tmp_path: Path, ssh: SshServer) -> None:
    write_inventory(tmp_path, pin=ssh.host_key, key=ssh.user_key, port=ssh.port)
    (tmp_path / "deploy.py").write_text(DEPLOY.format(command="true").replace("touch mark", f"touch {tmp_path}/mark"))
    for _ in range(2):
        ended = real_pyinfra.run(tmp_path, "inventory.py", "deploy.py", "-y")
        assert ended.status == 0, ended.stderr
        assert ended.last_words.startswith("tandem install: gpu1: 2 changed, 0 unchanged, 2 commands, ")
    assert (tmp_path / "mark").exists()


def test_an_unreachable_host_is_named_with_its_address(tmp_path: Path, ssh: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free_port = taken.getsockname()[1]
    write_inventory(tmp_path, pin=ssh.host_key, key=ssh.user_key, port=free_port)
    assert f"gpu1: nothing answers SSH at 127.0.0.1 port {free_port}" in refused(tmp_path)


def test_a_wrong_host_key_is_told_from_an_unknown_one(tmp_path: Path, ssh: SshServer) -> None:
    write_inventory(tmp_path, pin=paramiko.ECDSAKey.generate(), key=ssh.user_key, port=ssh.port)
    sentence = refused(tmp_path)
    assert f"gpu1: wrong host key: 127.0.0.1 port {ssh.port}" in sentence
    assert f"ssh-keygen -R '[127.0.0.1]:{ssh.port}' -f {tmp_path}/known_hosts" in sentence
    write_inventory(tmp_path, pin=None, key=ssh.user_key, port=ssh.port)
    assert f"gpu1: no host key is pinned for [127.0.0.1]:{ssh.port} in {tmp_path}/known_hosts" in refused(tmp_path)
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_refused_login_names_user_and_key(tmp_path: Path, ssh: SshServer) -> None:
    write_inventory(tmp_path, pin=ssh.host_key, key=paramiko.ECDSAKey.generate(), port=ssh.port)
    assert f"gpu1: 127.0.0.1 refused the login as root with {tmp_path}/key" in refused(tmp_path)


def test_a_missing_key_file_is_named(tmp_path: Path, ssh: SshServer) -> None:
    write_inventory(tmp_path, pin=ssh.host_key, key=ssh.user_key, port=ssh.port)
    (tmp_path / "key").unlink()
    assert f"No such private key file: {tmp_path}/key" in refused(tmp_path)


def test_a_run_without_hosts_does_not_end_as_success(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(DEPLOY.format(command="true"))
    (tmp_path / "config.py").write_text("from tandem import connection\nconnection.watch()\n")
    (tmp_path / "none.py").write_text("hosts = []\n")
    (tmp_path / "one.py").write_text("hosts = ['@local']\n")
    assert "no hosts" in refused(tmp_path, "none.py", "deploy.py", "-y")
    assert "no hosts" in refused(tmp_path, "mistyped.py", "deploy.py", "-y")
    assert "no hosts" in refused(tmp_path, "one.py", "deploy.py", "-y", "--limit", "gpu7")


def test_a_link_cut_in_the_middle_is_said_and_fails_the_run(tmp_path: Path, ssh: SshServer) -> None:
    write_inventory(tmp_path, pin=ssh.host_key, key=ssh.user_key, port=ssh.port)
    (tmp_path / "deploy.py").write_text(
        DEPLOY.format(command="cut-the-link").replace("touch mark", f"touch {tmp_path}/mark")
        + 'server.shell(name="Go on", commands=["true"])\n'
    )
    for _ in range(2):
        ended = real_pyinfra.run(tmp_path, "inventory.py", "deploy.py", "-y")
        assert ended.status == 1
        assert "failed: 1 changed, 0 unchanged, 1 failed, 1 not reached" in ended.last_words
        assert "gpu1: the SSH connection was lost" in ended.last_words
        assert "internal exception" not in ended.stderr


@pytest.mark.parametrize(
    ("fake_sudo", "sentence"),
    [
        (None, "@local: sudo is not installed there"),
        ("sudo: a password is required", "@local: sudo asks for a password and there is no terminal to ask on"),
        ("ada is not in the sudoers file.", "@local: this user may not use sudo"),
    ],
)
@pytest.mark.parametrize("flags", [("-y",), ("--dry",)])
def test_sudo_that_does_not_work_is_told_before_anything_changes(
    tmp_path: Path, fake_sudo: str | None, sentence: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "inventory.py").write_text("hosts = [('@local', {'_sudo': True})]\n")
    (tmp_path / "deploy.py").write_text(
        "from pyinfra.operations import files\nfrom tandem import journal\njournal.start('install')\n"
        "files.directory(name='Make a folder', path='mark')\n"
    )
    (tmp_path / "bin").mkdir()
    if fake_sudo:
        (tmp_path / "bin/sudo").write_text(f"#!/bin/sh\necho '{fake_sudo}' >&2\nexit 1\n")
        (tmp_path / "bin/sudo").chmod(stat.S_IRWXU)
    for _ in range(2):
        ended = real_pyinfra.run(tmp_path, "inventory.py", "deploy.py", *flags, PATH=str(tmp_path / "bin"))
        assert ended.status == 1, ended.stderr
        assert sentence in ended.last_words
        assert "othing was changed" in ended.last_words
        assert "internal exception" not in ended.stderr
        assert not (tmp_path / "mark").exists()


def test_output_that_only_mentions_sudo_is_no_sudo_problem() -> None:
    assert sudo_problem("gpu1", ["install sudo: it is needed", "E: cannot find package sudo"]) is None


def test_an_unknown_reason_is_passed_on_as_it_is() -> None:
    assert explain("gpu1", "EOF error (x)", {}) == "gpu1: cannot connect. (EOF error (x))"
