"""What comes in: the edge, SSH with keys, and nothing that our rules don't name."""

from typing import Any

import pytest

from tandem.domain.firewall import STRICT
from tests.host.conftest import Ask
from tests.host.reading import Seen, is_loopback, listen_ports


@pytest.fixture(scope="module")
def firewall(ask: Ask) -> Seen:
    found = ask("firewall")
    if not found["rules"]:
        pytest.skip("firewall/enabled is False on this host: no rules of ours are there")
    return found


@pytest.fixture(scope="module")
def ours(firewall: Seen) -> Seen:
    """Our base chain."""
    (chain,) = [one for one in firewall["inputs"] if (one["family"], one["table"]) == ("inet", "tandem")]
    return chain


def tcp_ports(chain: Seen) -> set[int]:
    """The TCP ports that any rule of a chain opens."""
    found: set[int] = set()
    for rule in chain["rules"]:
        for part in rule["expr"]:
            if part.get("match", {}).get("left") == {"payload": {"protocol": "tcp", "field": "dport"}}:
                found |= set(_numbers(part["match"]["right"]))
    return found


def _numbers(right: Any) -> list[int]:
    members = right["set"] if isinstance(right, dict) and "set" in right else [right]
    numbers: list[int] = []
    for member in members:
        ends = member["range"] if isinstance(member, dict) else [member, member]
        numbers += range(ends[0], ends[1] + 1)
    return numbers


def test_what_no_rule_names_is_dropped(ours: Seen) -> None:
    assert (ours["policy"], ours["prio"], ours["hook"]) == ("drop", 0, "input")
    catch_all = [rule for rule in ours["rules"] if rule["expr"] == [{"accept": None}]]
    assert catch_all == []


def test_the_edge_is_open_and_nothing_of_ours_behind_it(ours: Seen, system: Seen) -> None:
    edge = system["nginx"]["/etc/tandem/edge/current/nginx.conf"]
    public = {port for tls in (True, False) for port in listen_ports(edge, tls=tls)}
    opened = tcp_ports(ours)
    assert public <= opened
    loopback = {one["port"] for one in system["listeners"] if is_loopback(one["address"])}
    assert not opened & (loopback - public), "a port of ours that listens on loopback alone is open as well"


def test_ssh_takes_keys_only(firewall: Seen) -> None:
    assert {name: firewall["sshd"][name] for name in STRICT if firewall["sshd"][name] not in STRICT[name]} == {}
    assert firewall["sshd_files"]


def test_no_trial_is_left_open(firewall: Seen) -> None:
    assert firewall["undo"] == ""


def test_the_firewall_stands_before_the_network(system: Seen, firewall: Seen) -> None:
    unit = system["units"]["tandem-firewall.service"]
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
    assert "Before=network-pre.target" in system["texts"]["tandem-firewall.service"]
