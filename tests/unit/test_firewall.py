"""What comes in is the edge, SSH from where it may, and nothing else; and what differs on a host is said."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tandem.config import Config
from tandem.domain.firewall import STRICT, Wanted, decide, lax, locks_out, ports_text
from tandem.hostside import firewall as trial
from tandem.render.firewall import firewall_units, render_firewall, render_firewall_units, wanted_firewall
from tandem.render.tree import File
from tests.golden.rendered import example

UNSHARE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
WANTED = Wanted("rules", "settings")
CONVERGED: dict[str, Any] = {
    "loaded": "same",
    "different": [],
    "present": ["/etc/tandem/firewall/rules.nft"],
    "ssh_ports": [22],
    "sshd": {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "without-password",
    },
}


def configured(**options: Any) -> Config:
    config = example()
    return config.model_copy(update={"firewall": config.firewall.model_copy(update=options)})


def rules(**options: Any) -> str:
    return wanted_firewall(configured(**options)).rules


@pytest.fixture
def listed(tmp_path: Path) -> Any:
    """The kernel's own list of a ruleset, loaded twice in a network of its own."""
    if not shutil.which("nft"):
        pytest.fail("nft is not installed: `make packages` installs nftables")

    def load(text: str, ports: list[int]) -> dict[str, Any]:
        (tmp_path / "rules.nft").write_text(text)
        (tmp_path / "tandem-ssh-ports.nft").write_text(ports_text(ports))
        nft = f"nft -I {tmp_path} -f {tmp_path}/rules.nft"
        script = f"nft -f - && {nft} && {nft} && nft -j list ruleset"
        others = "add table inet netavark\nadd chain inet netavark FORWARD\n"
        done = subprocess.run([*UNSHARE, "sh", "-c", script], input=others, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return load


def accepted(found: dict[str, Any]) -> list[str]:
    """The rules of our chain that name a port, as text."""
    ours = [entry["rule"] for entry in found["nftables"] if entry.get("rule", {}).get("table") == "tandem"]
    return [json.dumps(rule["expr"]) for rule in ours if '"dport"' in json.dumps(rule["expr"])]


def test_the_kernel_takes_the_rules_twice_and_everybody_elses_stay(listed: Any) -> None:
    found = listed(rules(), [22, 2222])
    tables = [entry["table"]["name"] for entry in found["nftables"] if "table" in entry]
    chains = [entry["chain"] for entry in found["nftables"] if "chain" in entry]
    assert sorted(tables) == ["netavark", "tandem"]
    (ours,) = [chain for chain in chains if chain["table"] == "tandem"]
    assert (ours["hook"], ours["policy"], ours["prio"]) == ("input", "drop", 0)
    assert any("22" in rule and "2222" in rule for rule in accepted(found))


def test_nothing_of_anybody_else_is_named_for_removal() -> None:
    assert "flush" not in rules()
    assert [line for line in rules().splitlines() if line.startswith("delete")] == ["delete table inet tandem"]


@pytest.mark.parametrize(
    ("networks", "lines"),
    [
        (("0.0.0.0/0", "::/0"), ["meta nfproto ipv4", "meta nfproto ipv6"]),
        (("192.168.1.0/24",), ["ip saddr { 192.168.1.0/24 }"]),
        (("2001:db8::/32", "10.1.0.0/16", "10.0.0.0/8"), ["ip saddr { 10.0.0.0/8 }", "ip6 saddr { 2001:db8::/32 }"]),
        (("10.0.0.0/8", "0.0.0.0/0"), ["meta nfproto ipv4"]),
        (("192.0.2.7",), ["ip saddr { 192.0.2.7/32 }"]),
    ],
)
def test_ssh_answers_the_given_networks_alone(listed: Any, networks: tuple[str, ...], lines: list[str]) -> None:
    text = rules(ssh_from=networks)
    ssh = [line.strip() for line in text.splitlines() if "$tandem_ssh_ports" in line]
    assert ssh == [f"{line} tcp dport $tandem_ssh_ports accept" for line in lines]
    assert listed(text, [22])


def test_the_edges_ports_and_further_ones_answer_everybody(listed: Any) -> None:
    text = rules(open_ports=(8080, 443))
    assert "tcp dport { 80, 443, 8080 } accept" in text
    assert listed(text, [22])


def test_the_tree_holds_exactly_what_a_trial_makes_permanent() -> None:
    config = example()
    tree, wanted = render_firewall(config), wanted_firewall(config)
    texts = {path: entry.content for path, entry in tree.entries.items() if isinstance(entry, File)}
    assert texts["/etc/tandem/firewall/rules.nft"] == wanted.rules
    assert texts["/etc/ssh/sshd_config.d/10-tandem.conf"] == wanted.sshd
    before = render_firewall_units(config).entries.keys()
    assert not {"/etc/tandem/firewall/rules.nft", "/etc/ssh/sshd_config.d/10-tandem.conf"} & before


def test_another_firewall_gets_nothing_of_ours() -> None:
    off = configured(enabled=False)
    assert (render_firewall(off).entries, firewall_units(off), wanted_firewall(off)) == ({}, [], Wanted())


def test_a_host_as_wanted_needs_nothing() -> None:
    assert decide(WANTED, CONVERGED).due == ()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"loaded": "none"}, "put the firewall's rules in force: there were none"),
        ({"loaded": "other"}, "put the firewall's rules in force: there were others"),
        ({"different": ["/etc/x"]}, "made /etc/x"),
        ({"different": ["/etc/x"], "present": ["/etc/x"]}, "wrote /etc/x"),
        ({"sshd": {"passwordauthentication": "yes"}}, "made sshd take keys only: it had passwordauthentication yes"),
    ],
)
def test_what_differs_is_said_and_due(seen: dict[str, Any], words: str) -> None:
    assert decide(WANTED, {**CONVERGED, **seen}).due == (words,)


def test_rules_that_would_not_let_ssh_in_are_refused() -> None:
    work = decide(WANTED, {**CONVERGED, "ssh_ports": []})
    assert "no SSH server was found listening" in work.refusal
    assert work.due == ()


def test_what_an_earlier_run_made_goes_when_it_is_switched_off() -> None:
    assert decide(Wanted(), {**CONVERGED, "loaded": "none", "present": []}).due == ()
    due = decide(Wanted(), CONVERGED).due
    assert due == tuple(
        f"removed {what}: firewall/enabled is False" for what in ("the table in force", *CONVERGED["present"])
    )


def test_a_login_that_has_only_a_password_is_refused() -> None:
    assert "ssh_password and no ssh_key" in locks_out({"ssh_password": "x", "ssh_user": "root"})
    assert "x" not in locks_out({"ssh_password": "a-long-password"}).split()
    assert locks_out({"ssh_password": "x", "ssh_key": "~/.ssh/id"}) == ""
    assert locks_out({"ssh_user": "root"}) == ""


def test_settings_that_are_stricter_than_ours_are_left() -> None:
    assert lax({name: values[-1] for name, values in STRICT.items()}) == []
    assert lax({"permitrootlogin": "yes", "passwordauthentication": "no"}) == ["permitrootlogin yes"]


def test_the_undoing_is_a_script_that_a_shell_can_read() -> None:
    done = subprocess.run(["sh", "-n"], input=trial.UNDOING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert trial.UNDOING.index("mv ") < trial.UNDOING.index("nft ") < trial.UNDOING.index("umount")
