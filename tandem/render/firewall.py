"""What may come in, where SSH answers, and what loads the rules at boot."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from tandem.config import Config
from tandem.domain.firewall import FOLDER, RULES, SSHD, TABLE, UNIT, UNIT_FILES, Wanted
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import Directory, File, Tree

LOAD: Final = f"/usr/sbin/nft -I {FOLDER} -f {FOLDER}/{RULES}"


def render_firewall(config: Config) -> Tree:
    """What comes into force by a trial alone (``wanted_firewall``), and the units' files."""
    if not config.firewall.enabled:
        return Tree()
    wanted = wanted_firewall(config)
    return render_firewall_units(config) | Tree(
        {f"{FOLDER}/{RULES}": File(wanted.rules), SSHD: File(wanted.sshd)},
    )


def render_firewall_units(config: Config) -> Tree:
    """The files that change nothing by themselves: they may be there before the trial."""
    if not config.firewall.enabled:
        return Tree()
    service = render_template("firewall/tandem-firewall.service.j2", folder=FOLDER, load=LOAD, table=TABLE)
    beside = render_template("firewall/nftables.conf.j2", load=LOAD)
    own, debians = UNIT_FILES
    return Tree({FOLDER: Directory(), own: File(service), debians: File(beside)})


def wanted_firewall(config: Config) -> Wanted:
    if not config.firewall.enabled:
        return Wanted()
    edge, firewall = config.edge, config.firewall
    rules = render_template(
        "firewall/rules.nft.j2",
        ssh_from=_matches(firewall.ssh_from),
        ports=sorted({edge.https_port, edge.http_port, *firewall.open_ports}),
        udp_ports=sorted(set(firewall.open_udp_ports)),
    )
    return Wanted(rules, render_template("firewall/sshd.conf.j2"))


def firewall_units(config: Config) -> list[Unit]:
    """Ours, and Debian's own, of which only our addition has to be read."""
    return [Unit(UNIT), Unit("nftables.service", enable=False, run=False)] if config.firewall.enabled else []


def _matches(networks: Iterable[str]) -> list[str]:
    """One match for each family; networks in one another would be refused by nft and are joined."""
    parsed = [ipaddress.ip_network(network) for network in networks]
    four = list(ipaddress.collapse_addresses(net for net in parsed if isinstance(net, ipaddress.IPv4Network)))
    six = list(ipaddress.collapse_addresses(net for net in parsed if isinstance(net, ipaddress.IPv6Network)))
    return [
        *_match("ipv4", "ip", [str(net) for net in four], any(net.prefixlen == 0 for net in four)),
        *_match("ipv6", "ip6", [str(net) for net in six], any(net.prefixlen == 0 for net in six)),
    ]


def _match(family: str, word: str, networks: list[str], everybody: bool) -> list[str]:
    if everybody:
        return [f"meta nfproto {family}"]
    return [f"{word} saddr {{ {', '.join(networks)} }}"] if networks else []
