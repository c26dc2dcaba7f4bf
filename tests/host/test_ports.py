"""Who listens where: from outside there is the edge and SSH, and nothing else."""

from tandem.domain.slots import STATUS_PORT
from tests.host.reading import Seen, is_loopback, listen_ports


def is_ssh(listener: Seen, sockets: str) -> bool:
    """sshd, or systemd for it: ``sockets`` is what ssh.socket says that it listens on."""
    programs = set(listener["programs"])
    by_systemd = programs == {"systemd"} and f":{listener['port']} " in sockets
    return by_systemd or ("sshd" in programs and programs <= {"sshd", "systemd"})


def test_only_the_edge_and_ssh_listen_beyond_loopback(system: Seen) -> None:
    edge = system["nginx"]["/etc/tandem/edge/current/nginx.conf"]
    public = {port for tls in (True, False) for port in listen_ports(edge, tls=tls)}
    open_to_all = [one for one in system["listeners"] if one["protocol"] == "tcp" and not is_loopback(one["address"])]
    of_the_edge = [one for one in open_to_all if one["units"] == ["tandem-edge.service"]]
    assert {one["port"] for one in of_the_edge} == public
    assert [one for one in open_to_all if one not in of_the_edge and not is_ssh(one, system["ssh_sockets"])] == []


def test_no_unit_of_ours_takes_datagrams(system: Seen) -> None:
    ours = {*system["owned"]}
    assert [one for one in system["listeners"] if one["protocol"] == "udp" and ours & {*one["units"]}] == []


def test_each_container_listens_on_loopback(system: Seen, containers: Seen) -> None:
    for name, one in containers["containers"].items():
        seen = [each for each in system["listeners"] if f"{name}.service" in each["units"]]
        assert one["port"] in {each["port"] for each in seen}, name
        assert all(is_loopback(each["address"]) for each in seen), (name, seen)


def test_status_listeners_are_on_loopback(system: Seen) -> None:
    for unit, port in STATUS_PORT.items():
        (seen,) = [each for each in system["listeners"] if each["port"] == port]
        assert (seen["address"], seen["units"]) == ("127.0.0.1", [f"{unit}.service"])
