"""The rehearsal hosts' network: one veth and one /30 each, and masquerading to whatever the build machine reaches.

IPv6 stays between the build machine and its hosts: forwarding it would turn off router advertisements on the
operator's own interfaces.
"""

import contextlib
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

from tandem.rehearsal.shell import RehearsalError, run, wait_until

TABLE = "tandem_rehearsal"
INTERFACE_PREFIX = "tdm-"
POOLS = tuple(IPv4Network(pool) for pool in ("10.213.57.0/24", "172.29.213.0/24", "192.168.213.0/24"))
RUN = Path("/run/tandem-rehearsal")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Before it existed the table cannot be deleted, so it is added first: the whole text is one transaction.
RULES = f"""
add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        iifname "{INTERFACE_PREFIX}*" oifname != "{INTERFACE_PREFIX}*" masquerade
    }}
}}
"""


def interface_name(state: Path, name: str) -> str:
    """The build machine's end of a host's veth: at most 15 characters, different for each state folder."""
    return f"{INTERFACE_PREFIX}{name[:6]}-{zlib.crc32(f'{state}/{name}'.encode()) & 0xFFFF:04x}"


def free_network(taken: Iterable[IPv4Network], start: int = 0) -> IPv4Network:
    """A /30 that overlaps nothing in `taken`; the search begins at the `start`-th of each pool."""
    used = list(taken)
    for pool in POOLS:
        candidates = list(pool.subnets(new_prefix=30))
        for step in range(len(candidates)):
            candidate = candidates[(start + step) % len(candidates)]
            if not any(candidate.overlaps(other) for other in used):
                return candidate
    raise RehearsalError(f"no free /30 in {', '.join(map(str, POOLS))}: all overlap this machine's routes; stop a host")


def ula(network: IPv4Network) -> str:
    """The private IPv6 /64 that goes with a host's /30: its prefix, ending in '::'."""
    octets = network.network_address.packed
    return f"fd7a:6e64:{octets[0]:02x}{octets[1]:02x}:{octets[2]:02x}{octets[3]:02x}::"


def routed_networks(routes_json: str, own_interface: str) -> list[IPv4Network]:
    """Networks that this machine routes somewhere else than to `own_interface`, from `ip -j route show table all`."""
    found = []
    for route in json.loads(routes_json or "[]"):
        if route.get("dst", "default") != "default" and route.get("dev") != own_interface:
            found.append(IPv4Network(route["dst"], strict=False))
    return found


def taken_networks(own_interface: str) -> list[IPv4Network]:
    """What the other interfaces of this machine use at present."""
    return routed_networks(run(["ip", "-4", "-j", "route", "show", "table", "all"]), own_interface)


def uplink_mtu_bytes() -> int:
    """MTU of the interface with the default route: a larger one inside would lose packets behind filtered ICMP."""
    for route in json.loads(run(["ip", "-4", "-j", "route", "show", "default"]) or "[]"):
        return int(Path(f"/sys/class/net/{route['dev']}/mtu").read_text())
    return 1500


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One at a time on this machine: choosing a network, opening and closing the gateway."""
    while True:
        RUN.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), (RUN / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever closed the gateway removed the folder while this one waited for the lock in it.
            if os.fstat(handle.fileno()).st_nlink:
                yield
                return


def open_gateway() -> None:
    """Masquerades the rehearsal hosts; remembers what IPv4 forwarding was before the first of them."""
    with locked():
        before = RUN / "ip_forward.before"
        if not before.exists():
            before.write_text(FORWARDING.read_text())
        FORWARDING.write_text("1\n")
        run(["nft", "-f", "-"], stdin=RULES)


def close_gateway() -> None:
    """Undoes `open_gateway` unless another rehearsal host, of any state folder, still has its interface."""
    with locked():
        if any(Path("/sys/class/net").glob(f"{INTERFACE_PREFIX}*")):
            return
        run(["nft", "delete", "table", "inet", TABLE], check=False)
        before = RUN / "ip_forward.before"
        if before.exists():
            FORWARDING.write_text(before.read_text())
        shutil.rmtree(RUN)


def address_interface(interface: str, network: IPv4Network, mtu_bytes: int) -> None:
    """Gives the build machine's end of a veth its addresses."""
    run(["ip", "address", "replace", f"{network[1]}/30", "dev", interface])
    run(["ip", "address", "replace", f"{ula(network)}1/64", "dev", interface, "nodad"], check=False)
    run(["ip", "link", "set", interface, "mtu", str(mtu_bytes), "up"])


def interface_index(interface: str) -> str:
    """The kernel's number of an interface; empty while there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/sys/class/net/{interface}/ifindex").read_text().strip()
    return ""


def remove_interface(interface: str) -> None:
    """The kernel takes a veth away some moments after its host died; do not leave it to that."""
    if not wait_until(lambda: not interface_index(interface), seconds=2):
        run(["ip", "link", "delete", interface], check=False)
        wait_until(lambda: not interface_index(interface), seconds=5)
