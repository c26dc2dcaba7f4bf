"""What is written into a host's root folder from outside: its identity, its network, the stand-ins for hardware."""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tandem.rehearsal.shell import RehearsalError, run

STANDINS = (  # file of standins/, its place in the host, mode
    ("cards.json", "etc/rehearsal/cards.json", "0644"),
    ("containers.conf", "etc/containers/containers.conf.d/50-rehearsal.conf", "0644"),
    ("disk-links", "usr/local/lib/rehearsal/disk-links", "0755"),
    ("rehearsal-disk-links.service", "etc/systemd/system/rehearsal-disk-links.service", "0644"),
    ("rehearsal-disk-links.path", "etc/systemd/system/rehearsal-disk-links.path", "0644"),
)
BLANK = (  # two cards that nothing has been installed for yet
    ("cards", "usr/local/lib/rehearsal/cards", "0755"),
    ("rehearsal-cards.service", "etc/systemd/system/rehearsal-cards.service", "0644"),
)
DRIVEN = (  # a driver that has always been there
    ("nvidia-smi", "usr/bin/nvidia-smi", "0755"),
    ("nvidia-cdi.yaml", "etc/cdi/nvidia.yaml", "0644"),
)
BLANK_BY_DEFAULT = True
"""Whether a fresh host is as a new server comes: two cards on the bus and no driver."""


@dataclass(frozen=True)
class Host:
    """How to reach one rehearsal host, as `root`, `operator` (sudo without a password) or `guest` (no sudo)."""

    name: str
    address: str
    address_v6: str
    port: int
    user: str
    key_file: str
    known_hosts_file: str
    network: str

    def ssh(self, user: str | None = None) -> list[str]:
        """The ssh command to this host, strict about its key; append the remote command."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=3", "IdentitiesOnly=yes"]
        options += [f"UserKnownHostsFile={self.known_hosts_file}", "GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        flags = [part for option in options for part in ("-o", option)]
        target = f"{user or self.user}@{self.address}"
        return ["ssh", "-F", "none", *flags, "-i", self.key_file, "-p", str(self.port), target]


def furnish(root: Path, blank: bool) -> None:
    """Puts the stand-ins for the hardware into a fresh root. A root from a save has what it was saved with."""
    files = (*STANDINS, *(BLANK if blank else DRIVEN))
    for source, target, mode in files:
        place(root, target, (Path(__file__).parent / "standins" / source).read_text(), mode)
    units = [source for source, _, _ in files if source.startswith("rehearsal-")]
    run(["systemctl", f"--root={root}", "--quiet", "enable", *units])


def is_blank(root: Path) -> bool:
    """Whether a root was furnished as ``blank``, whatever has been installed in it since."""
    return (root / BLANK[-1][1]).exists()


def copy(source: Path, target: Path) -> None:
    """Copies a root folder or a disk image, holes, owners and extended attributes included."""
    run(["cp", "--archive", "--reflink=auto", "--", str(source), str(target)])


def identify(here: Path, host: Host) -> None:
    """Gives the root in `here` the name and the keys of `host`, whatever host it was before."""
    root = here / "root"
    public = (here / "id_ed25519.pub").read_text()
    for home in ("root", "home/operator", "home/guest"):
        place(root, f"{home}/.ssh/authorized_keys", public, "0644")
    place(root, "etc/ssh/ssh_host_ed25519_key", (here / "host_key").read_text(), "0600")
    place(root, "etc/ssh/ssh_host_ed25519_key.pub", (here / "host_key.pub").read_text(), "0644")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        if not key.name.startswith("ssh_host_ed25519_key"):
            key.unlink()
    place(root, "etc/hostname", f"{host.name}\n", "0644")
    place(root, "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost ip6-localhost\n", "0644")


def place(root: Path, path: str, text: str, mode: str) -> None:
    """Writes a file of a host's root from outside; a link in there never leads out of it."""
    target = root / path
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise RehearsalError(f"{target.parent} leads out of the host's root: nothing was written; make the host anew")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, int(mode, 8)), "w") as handle:
        handle.write(text)
    new.chmod(int(mode, 8))
    new.replace(target)


def network_file(host: Host, mtu_bytes: int) -> str:
    """The systemd-networkd file of a host. Nobody else is on its link, so no address is checked for duplicates."""
    net = IPv4Network(host.network)
    address_v6 = f"[Address]\nAddress={host.address_v6}/64\nDuplicateAddressDetection=none\n"
    network = f"[Network]\nAddress={host.address}/30\nGateway={net[1]}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    return f"[Match]\nName=host0\n\n[Link]\nMTUBytes={mtu_bytes}\n\n{network}\n{address_v6}"


def name_servers() -> str:
    """This machine's resolv.conf; behind a local stub resolver, the one that it forwards to."""
    own, behind = Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")
    text = own.read_text() if own.exists() else ""
    return behind.read_text() if re.search(r"^nameserver\s+127\.", text, re.MULTILINE) and behind.exists() else text
