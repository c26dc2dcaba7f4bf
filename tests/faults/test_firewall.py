"""What comes in from outside, and that no mistake with it locks the operator out: tried, confirmed, or taken back."""

import secrets
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.shell import wait_until
from tests.faults.conftest import made_anew
from tests.faults.deploying import Ended, Running, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import refused

NAME = "gpu5"
ELSEWHERE = ["192.0.2.0/24", "2001:db8::/32"]
"""Networks for documentation: nobody's, and so not the operator's."""
CONFIRM_SECONDS = 10
DEPLOY = "tests/faults/deploys/firewall.py"
SSHD = "/etc/ssh/sshd_config.d/10-tandem.conf"
TOOLS = "nftables podman netavark aardvark-dns unattended-upgrades"


@pytest.fixture(scope="module")
def there() -> Iterator[OnHost]:
    found = OnHost(made_anew(NAME))
    quiet = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    found.shell(f"{quiet} update >/dev/null; {quiet} install -y --no-install-recommends {TOOLS} >/dev/null 2>&1")
    yield found
    host.remove(STATE, NAME)


def listen(there: OnHost) -> OnHost:
    """Somebody listens on these ports of all addresses; a reboot ends that."""
    there.shell(
        "for port in 80 443 8000; do systemctl --quiet is-active listener-$port || "
        "systemd-run --quiet --unit=listener-$port python3 -m http.server --bind :: $port; done"
    )
    ready = "import socket; [socket.create_connection(('localhost', port), 1) for port in (80, 443, 8000)]"
    there.shell(
        f'for second in 1 2 3 4 5 6 7 8 9 10; do python3 -c "{ready}" 2>/dev/null && exit 0; sleep 1; done; exit 1'
    )
    return there


def changes(**firewall: Any) -> dict[str, Any]:
    return {"firewall": {"confirm_seconds": CONFIRM_SECONDS, **firewall}}


def deploy(workplace: Workplace, **firewall: Any) -> Ended:
    return workplace.run(workplace.inventory(NAME, changes(**firewall)), DEPLOY)


@pytest.fixture
def guarded(there: OnHost, workplace: Workplace) -> OnHost:
    """The host with the firewall as the defaults have it."""
    ended = deploy(workplace)
    assert ended.status == 0, ended.output
    return listen(there)


@pytest.fixture
def bare(there: OnHost, workplace: Workplace) -> OnHost:
    """The host without anything of the firewall."""
    ended = deploy(workplace, enabled=False)
    assert ended.status == 0, ended.output
    return listen(there)


def answers(port: int, family: str = "address") -> bool:
    """Whether a TCP connection from here comes about."""
    try:
        with socket.create_connection((getattr(host.load(STATE, NAME), family), port), timeout=2):
            return True
    except OSError:
        return False


def rules(there: OnHost) -> str:
    return there.shell("nft -s list table inet tandem 2>/dev/null || true")


def settings(there: OnHost) -> str:
    return there.shell(f"cat {SSHD} 2>/dev/null || true; sshd -T | grep -E '^(password|permitroot|maxauth)'")


def unchanged(workplace: Workplace, **firewall: Any) -> None:
    second = deploy(workplace, **firewall)
    assert (second.status, second.changed) == (0, []), second.output


def trying(workplace: Workplace, **firewall: Any) -> Running:
    """A run whose trial has begun."""
    running = workplace.start(workplace.inventory(NAME, changes(**firewall)), DEPLOY)
    if not wait_until(lambda: "trying the new rules" in running.output.read_text(), seconds=60):
        raise AssertionError(running.kill().output)
    return running


def test_from_outside_only_the_edge_and_ssh_answer(bare: OnHost, workplace: Workplace) -> None:
    assert all(answers(port, family) for port in (22, 80, 8000) for family in ("address", "address_v6"))
    ended = deploy(workplace)
    assert ended.status == 0, ended.output
    assert f"tried for {CONFIRM_SECONDS} s and kept if a new SSH connection works" in " ".join(ended.output.split())
    assert "a new SSH connection works: made permanent" in ended.output
    for family in ("address", "address_v6"):
        found = {port: answers(port, family) for port in (22, 80, 443, 8000)}
        assert found == {22: True, 80: True, 443: True, 8000: False}, family
    listen(bare)
    unchanged(workplace)


def test_a_further_port_is_opened_and_closed_again(guarded: OnHost, workplace: Workplace) -> None:
    assert deploy(workplace, open_ports=[8000]).status == 0
    assert answers(8000)
    unchanged(workplace, open_ports=[8000])
    assert deploy(workplace).status == 0
    assert not answers(8000)


def test_rules_that_shut_the_operator_out_are_taken_back(guarded: OnHost, workplace: Workplace) -> None:
    before = rules(guarded), settings(guarded)
    ended = deploy(workplace, ssh_from=ELSEWHERE)
    assert ended.status == 1
    assert "the firewall rules and sshd settings from before are in force again" in ended.output
    assert "is the address of the machine that runs this in firewall/ssh_from" in ended.output
    assert (rules(guarded), settings(guarded)) == before
    assert guarded.shell("systemctl list-units --all --plain --no-legend 'tandem-firewall-undo*'") == ""
    unchanged(workplace)


def test_an_operator_who_dies_in_the_trial_leaves_the_old_rules(guarded: OnHost, workplace: Workplace) -> None:
    before = rules(guarded), settings(guarded)
    trying(workplace, ssh_from=ELSEWHERE).kill()
    assert not answers(22)
    assert wait_until(lambda: answers(22), seconds=CONFIRM_SECONDS + 20)
    assert (rules(guarded), settings(guarded)) == before
    unchanged(workplace)


def test_a_power_cut_in_the_first_trial_leaves_no_firewall(bare: OnHost, workplace: Workplace) -> None:
    before = settings(bare)
    trying(workplace, ssh_from=ELSEWHERE, confirm_seconds=600).kill()
    assert not answers(22)
    host.reset(STATE, NAME)
    assert rules(bare) == ""
    left = settings(bare).replace("# Made by Tandem: settings are being tried.\n", "")
    assert left == before
    assert deploy(workplace).status == 0
    unchanged(workplace)


def test_a_power_cut_in_a_later_trial_leaves_the_old_rules(guarded: OnHost, workplace: Workplace) -> None:
    before = rules(guarded), settings(guarded)
    trying(workplace, ssh_from=ELSEWHERE, confirm_seconds=600).kill()
    assert not answers(22)
    host.reset(STATE, NAME)
    assert (rules(guarded), settings(guarded)) == before
    assert guarded.shell("systemctl is-active tandem-firewall.service").strip() == "active"
    unchanged(workplace)


BY_HAND = {
    "table removed": ("nft delete table inet tandem", "put the firewall's rules in force: there were none"),
    "rules emptied": ("nft flush chain inet tandem input; nft add rule inet tandem input accept", "there were others"),
    "rule added": ("nft insert rule inet tandem input tcp dport 8000 accept", "there were others"),
    "file changed": ("echo '# by hand' >>/etc/tandem/firewall/rules.nft", "wrote /etc/tandem/firewall/rules.nft"),
    "ports file removed": ("rm /etc/tandem/firewall/tandem-ssh-ports.nft", "made /etc/tandem/firewall/tandem-ssh"),
    "settings removed": (f"rm {SSHD}", f"made {SSHD}"),
    "not at boot": ("systemctl disable --quiet tandem-firewall.service", "enabled tandem-firewall.service"),
    "stopped": ("systemctl stop tandem-firewall.service", "there were none"),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_is_changed_by_hand_is_repaired(guarded: OnHost, workplace: Workplace, what: str) -> None:
    before = rules(guarded), settings(guarded)
    script, words = BY_HAND[what]
    guarded.shell(script)
    ended = deploy(workplace)
    assert ended.status == 0, ended.output
    assert [note for note in ended.notes if words in note], ended.notes
    assert (rules(guarded), settings(guarded)) == before
    unchanged(workplace)


@pytest.mark.parametrize("verb", ["start", "restart", "reload", "stop"])
def test_debians_own_firewall_service_does_not_take_ours_away(guarded: OnHost, verb: str) -> None:
    before = rules(guarded)
    assert before
    if verb in ("reload", "stop"):
        guarded.shell("systemctl start nftables.service")
    guarded.shell(f"systemctl {verb} nftables.service")
    try:
        assert rules(guarded) == before
        assert not answers(8000)
    finally:
        guarded.shell("systemctl stop nftables.service")


def test_a_container_on_a_bridge_still_finds_others_and_goes_out(guarded: OnHost) -> None:
    run = "podman run --rm --network inside --rootfs /:O"
    outside = IPv4Network(host.load(STATE, NAME).network)[1]
    guarded.shell("podman network exists inside || podman network create inside >/dev/null")
    guarded.shell("podman run --detach --replace --name web --network inside --rootfs /:O sleep 300 >/dev/null")
    try:
        assert "web.dns.podman" in guarded.shell(f"{run} getent hosts web")
        with socket.create_server(("0.0.0.0", 0)) as server:
            server.settimeout(20)
            port = server.getsockname()[1]
            guarded.shell(f"{run} python3 -c 'import socket; socket.create_connection((\"{outside}\", {port}), 10)'")
            connection, _ = server.accept()
            connection.close()
        assert "table inet netavark" in guarded.shell("nft list tables")
    finally:
        guarded.shell("podman rm --force --time 0 web >/dev/null; podman network rm inside >/dev/null")


def offered(user: str) -> str:
    """What sshd says when somebody comes without a key."""
    command = host.load(STATE, NAME).ssh(user)
    options = ["-o", "PreferredAuthentications=none", "-o", "PubkeyAuthentication=no"]
    done = subprocess.run([*command[:-1], *options, command[-1], "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def test_no_login_with_a_password(bare: OnHost, workplace: Workplace) -> None:
    assert "password" in offered("operator")
    assert deploy(workplace).status == 0
    for user in ("operator", "root"):
        assert offered(user).endswith("Permission denied (publickey).")


def test_a_file_that_would_still_allow_passwords_is_said(bare: OnHost, workplace: Workplace) -> None:
    lax = "/etc/ssh/sshd_config.d/01-lax.conf"
    bare.shell(f"mkdir -p /etc/ssh/sshd_config.d; echo PasswordAuthentication yes >{lax}")
    try:
        before = rules(bare), settings(bare)
        ended = deploy(workplace)
        assert ended.status == 1
        assert "sshd would still have passwordauthentication yes" in ended.output
        assert (rules(bare), settings(bare)) == before
    finally:
        bare.shell(f"rm {lax}")


def test_a_login_without_a_key_is_refused_before_anything_is_touched(bare: OnHost, workplace: Workplace) -> None:
    password = secrets.token_hex(16)
    bare.shell(f"chpasswd <<'END'\noperator:{password}\nEND")
    login = {"ssh_user": "operator", "ssh_password": password, "ssh_key": ""}
    before = settings(bare)
    ended = workplace.run(workplace.inventory(NAME, {**changes(), **login}), DEPLOY)
    refused(ended, "the inventory has ssh_password and no ssh_key", "nothing was changed")
    assert password not in ended.output
    assert (rules(bare), settings(bare)) == ("", before)
    bare.shell("passwd --quiet --lock operator")


def test_switched_off_everything_of_it_goes(guarded: OnHost, workplace: Workplace) -> None:
    ended = deploy(workplace, enabled=False)
    assert ended.status == 0, ended.output
    assert rules(guarded) == ""
    assert answers(8000)
    assert "password" in offered("operator")
    places = "/etc/tandem/firewall /etc/systemd/system/*tandem-firewall* /etc/systemd/system/nftables.service.d/*"
    assert guarded.shell(f"ls -d {places} 2>/dev/null || true") == ""
    assert guarded.shell(f"test -e {SSHD} || echo gone").strip() == "gone"
    unchanged(workplace, enabled=False)


def test_every_reboot_brings_the_rules_back(guarded: OnHost, workplace: Workplace) -> None:
    before = rules(guarded)
    host.reboot(STATE, NAME)
    assert rules(guarded) == before
    assert guarded.shell("systemctl is-active tandem-firewall.service network-pre.target").split() == ["active"] * 2
    unchanged(workplace)
