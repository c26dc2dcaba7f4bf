"""What can't work is refused with a sentence of its own, exit status not 0, and nothing changed on the host."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.conftest import SPARE
from tests.faults.deploying import INSTALL, ROOT, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import nothing_changes, refused

CONNECT_LIMIT_SECONDS = 30


def data() -> dict[str, Any]:
    return dict(hosts(STATE))[SPARE]


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"edge": {"server_name": "x", "htps_port": 443}}, ["edge/htps_port", "unknown", "did you mean https_port"]),
        ({"relase": "a"}, ["relase", "unknown", "did you mean release"]),
        ({"engine": {"cards": "0,1"}}, ["engine/cards"]),
        ({"edge": {"server_name": "x", "https_port": "443"}}, ["edge/https_port", "'443'"]),
        ({"release": "nowhere"}, ["'nowhere' is not declared", "a, b, wrong"]),
        ({"host": {"minimum_memory_gib": 4096, "minimum_disk_gib": 4}}, ["memory is", "4096 GiB is needed"]),
        ({"host": {"minimum_memory_gib": 1, "minimum_disk_gib": 90000}}, ["/ has", "free; 90000 GiB is needed"]),
        ({"ssh_user": "guest"}, ["can't become root"]),
    ],
    ids=[
        "unknown-key",
        "unknown-top-key",
        "wrong-type",
        "port-as-text",
        "undeclared-release",
        "memory",
        "disk",
        "no-sudo",
    ],
)
def test_what_the_inventory_gets_wrong_is_refused(
    fresh: str, workplace: Workplace, changes: dict[str, Any], sentences: list[str]
) -> None:
    with nothing_changes(fresh):
        for _ in range(2):
            refused(workplace.install(fresh, changes), *sentences, "nothing was changed")


def test_an_unquoted_release_is_refused_and_the_right_form_shown(fresh: str, workplace: Workplace) -> None:
    with nothing_changes(fresh):
        ended = workplace.install(fresh, None, "--data", "release=0.10")
    refused(ended, "0.1 was read as a number", "quote it", "nothing was changed")


def test_a_run_without_hosts_is_no_success(fresh: str, workplace: Workplace) -> None:
    workplace.inventory(fresh)
    (workplace.folder / "inventories/empty.py").write_text("rehearsal = []\n")
    refused(workplace.run("inventories/empty.py", INSTALL), "no hosts", "nothing was changed")
    refused(workplace.run("inventories/rehearsal.py", INSTALL, "--limit", "nobody"), "nobody", "nothing was changed")


def test_the_wrong_folder_is_said_in_one_sentence(fresh: str, workplace: Workplace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    workplace.inventory(fresh)
    (workplace.folder / "group_data").unlink()
    with nothing_changes(fresh):
        ended = workplace.run("inventories/rehearsal.py", str(ROOT / INSTALL))
    refused(ended, "group_data", "nothing was changed")


def test_a_wrong_host_key_is_refused(fresh: str, workplace: Workplace, tmp_path: Path) -> None:
    another = (STATE / "hosts" / fresh / "id_ed25519.pub").read_text().split()[:2]
    pinned = tmp_path / "known_hosts"
    pinned.write_text(f"{data()['ssh_hostname']} {' '.join(another)}\n")
    with nothing_changes(fresh):
        ended = workplace.install(fresh, {"ssh_known_hosts_file": str(pinned)})
    refused(ended, "wrong host key", str(pinned), "nothing was changed")


def test_an_unknown_host_key_is_refused(fresh: str, workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    with nothing_changes(fresh):
        ended = workplace.install(fresh, {"ssh_known_hosts_file": str(tmp_path / "empty")})
    refused(ended, "no host key is pinned", "nothing was changed")


def test_a_host_that_refuses_the_connection_is_named(fresh: str, workplace: Workplace) -> None:
    ended = workplace.install(fresh, {"ssh_port": 2})
    refused(ended, f"nothing answers SSH at {data()['ssh_hostname']} port 2", "nothing was changed")
    assert ended.seconds < CONNECT_LIMIT_SECONDS


@pytest.mark.parametrize("greets", [False, True], ids=["drops-packets", "accepts-and-is-silent"])
def test_a_host_that_does_not_answer_is_given_up_soon(fresh: str, workplace: Workplace, greets: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16 if greets else 0) as silent:
        port = silent.getsockname()[1]
        # A full queue drops what comes next, as a machine behind a packet filter does.
        waiting = [] if greets else [_connect_without_waiting(port) for _ in range(4)]
        ended = workplace.install(fresh, {"ssh_hostname": "127.0.0.1", "ssh_port": port})
        for connection in waiting:
            connection.close()
    refused(ended, f"127.0.0.1 port {port}", "nothing was changed")
    assert ended.seconds < CONNECT_LIMIT_SECONDS


def _connect_without_waiting(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    return connection


def test_an_unsupported_system_is_refused(fresh: str, workplace: Workplace) -> None:
    there = OnHost(fresh)
    there.shell("cp -a /usr/lib/os-release /root/os-release")
    there.shell("sed -i 's/^VERSION_ID=.*/VERSION_ID=\"12\"/; s/trixie/bookworm/; s/13/12/' /usr/lib/os-release")
    try:
        with nothing_changes(fresh):
            ended = workplace.install(fresh)
    finally:
        there.shell("mv /root/os-release /usr/lib/os-release")
    refused(ended, "Debian GNU/Linux 12", "Tandem is tested on Debian 13", "nothing was changed")


def test_a_taken_port_is_named_with_its_process(fresh: str, workplace: Workplace) -> None:
    there = OnHost(fresh)
    there.shell("systemd-run --quiet --collect --unit=squatter python3 -m http.server 443")
    pid = there.shell("systemctl show --value --property=MainPID squatter").strip()
    _wait_for_port(443)
    try:
        with nothing_changes(fresh):
            ended = workplace.install(fresh)
    finally:
        there.shell("systemctl stop squatter")
    refused(ended, "port 443 is needed for the edge", f"python3 (pid {pid}, squatter.service)", "nothing was changed")


def _wait_for_port(port: int) -> None:
    address, deadline = host.load(STATE, SPARE).address, time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port} of {SPARE}")
