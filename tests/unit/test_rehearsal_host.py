"""The pure parts of the rehearsal host: networks, mirrors, commands, and names that are refused."""

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tandem import mirrors
from tandem.rehearsal import base, host, machine, network, rootfs, saves
from tandem.rehearsal.shell import RehearsalError

DEB822 = """Types: deb
# a remark
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
"""
ONE_LINE = """# deb http://off.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/debian bookworm main
deb http://security.example/debian bookworm-security main
deb-src http://source.example/debian bookworm main
deb http://other.example/app stable main
"""
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


def test_mirrors_are_read_from_both_source_formats() -> None:
    assert mirrors.debian_mirrors([DEB822], "bookworm") == mirrors.Mirrors(
        "http://mirror.example/debian", "http://mirror.example/debian-security"
    )
    assert mirrors.debian_mirrors([ONE_LINE], "bookworm") == mirrors.Mirrors(
        "http://mirror.example/debian", "http://security.example/debian"
    )


def test_unknown_mirror_leaves_the_choice_to_mmdebstrap() -> None:
    assert base.source_lines(mirrors.debian_mirrors(["deb http://other.example/app stable main"], "bookworm")) == []


def test_new_root_uses_the_operators_mirror_with_another_suite() -> None:
    lines = base.source_lines(mirrors.Mirrors("http://m.example/debian", None))
    assert [line.split()[1:3] for line in lines] == [
        ["http://m.example/debian", "trixie"],
        ["http://m.example/debian", "trixie-updates"],
    ]


def test_apt_settings_keep_the_way_to_the_mirror_and_nothing_else() -> None:
    dump = 'Acquire::http::Proxy "http://p.example:3128";\nAcquire::https::CaInfo "/ca.pem";\nAPT::Sandbox "x";\n'
    kept = mirrors.apt_settings(dump, {"http_proxy": "http://ignored.example", "https_proxy": "http://q.example"})
    assert kept.splitlines() == [
        'Acquire::http::Proxy "http://p.example:3128";',
        'Acquire::https::CaInfo "/ca.pem";',
        'Acquire::https::Proxy "http://q.example";',
    ]


def test_only_authorities_that_debian_lacks_are_carried_on() -> None:
    own, debian = CERTIFICATE.format("b3du"), CERTIFICATE.format("ZGVi")
    assert base.added_authorities(f"# remark\n{debian}{own}{own}", [debian]) == [own]


def test_network_avoids_what_the_machine_routes_elsewhere() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.213.57.0/29", "dev": "vpn0"},
        {"dst": "10.213.57.8/30", "dev": "tdm-own"},
        {"dst": "10.213.57.13", "dev": "vpn0"},
    ]
    taken = network.routed_networks(json.dumps(routes), "tdm-own")
    assert network.free_network(taken) == IPv4Network("10.213.57.8/30")
    assert network.free_network(taken, start=3) == IPv4Network("10.213.57.16/30")


def test_network_moves_to_another_pool_and_then_refuses() -> None:
    assert network.free_network([network.POOLS[0]]).subnet_of(network.POOLS[1])
    with pytest.raises(RehearsalError, match="no free /30"):
        network.free_network(network.POOLS)


def test_ipv6_prefix_follows_the_ipv4_network() -> None:
    assert network.ula(IPv4Network("10.213.57.60/30")) == "fd7a:6e64:0ad5:393c::"


def test_interface_names_fit_and_differ_between_state_folders() -> None:
    names = {network.interface_name(Path(state), "gpu-with-long-name") for state in ("/a", "/b")}
    assert len(names) == 2
    assert all(len(name) <= 15 for name in names)


def test_machine_cannot_reach_the_build_machines_clock_or_kernel() -> None:
    command = machine.nspawn_command(
        Path("/s/hosts/gpu1/root"), "tdm-gpu1", "/dev/loop7", {"images": Path("/s/images")},
        init_is_systemd=False, has_fuse=False,
    )  # fmt: skip
    assert "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE" in command
    assert "--bind=/dev/loop7:/dev/nvme1n1" in command
    assert "--bind-ro=/s/images:/opt/rehearsal/images" in command
    assert "--keep-unit" in command
    assert machine.is_machine(Path("/s"), "gpu1")(command)
    assert not machine.is_machine(Path("/s"), "gpu2")(command)


def test_machine_gets_a_scope_of_its_own_where_systemd_runs() -> None:
    command = machine.nspawn_command(Path("/r"), "tdm-a", "/dev/loop0", {}, init_is_systemd=True, has_fuse=True)
    assert "--keep-unit" not in command
    assert "--bind=/dev/fuse" in command


@pytest.mark.parametrize("name", ["", "../x", "Gpu1", "1gpu", "a" * 32, ".new-gpu1"])
def test_names_that_are_no_host_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RehearsalError, match="host name"):
        host.folder(tmp_path, name)


def test_unknown_host_and_save_are_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(RehearsalError, match="no rehearsal host gpu1"):
        host.load(tmp_path, "gpu1")
    (tmp_path / "saves" / "installed" / "root").mkdir(parents=True)
    with pytest.raises(RehearsalError, match="there: installed"):
        saves.start_from(tmp_path, "gpu1", "other")


def test_files_are_placed_with_their_mode_and_replace_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "resolv.conf").symlink_to(outside)
    for _ in range(2):
        rootfs.place(tmp_path / "root", "etc/resolv.conf", "nameserver 192.0.2.1\n", "0640")
    assert outside.read_text() == "mine"
    placed = tmp_path / "root" / "etc" / "resolv.conf"
    assert placed.read_text() == "nameserver 192.0.2.1\n"
    assert placed.stat().st_mode & 0o7777 == 0o640


def test_a_link_never_leads_out_of_the_hosts_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "etc").symlink_to(tmp_path / "outside")
    with pytest.raises(RehearsalError, match="leads out"):
        rootfs.place(tmp_path / "root", "etc/sub/hostname", "x", "0644")
    assert list((tmp_path / "outside").iterdir()) == []
