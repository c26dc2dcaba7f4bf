"""Reading the few forms of text in which a host says how it is set up."""

import ipaddress
import re
import shlex
from typing import Any, TypeAlias

from tandem.domain import secrets

Seen: TypeAlias = Any
"""What a program of looks/ printed; see there."""


def directive(unit_file: str, name: str) -> str:
    """The value of ``Name=value`` or of ``Environment="NAME=value"``; KeyError when it is not there."""
    found = re.search(rf'^(?:Environment=")?{re.escape(name)}=(.*?)"?$', unit_file, re.MULTILINE)
    if not found:
        raise KeyError(name)
    return found.group(1)


def option(unit_file: str, name: str) -> str:
    """The value of ``--name`` in the container's command line."""
    words = shlex.split(directive(unit_file, "Exec"))
    return words[words.index(f"--{name}") + 1]


def weights_directory(unit_file: str) -> str:
    return directive(unit_file, "RequiresMountsFor").split()[0]


def listen_ports(nginx_conf: str, *, tls: bool) -> list[int]:
    """The public ports in an nginx.conf, IPv4 and IPv6 alike, in the order in which they stand there."""
    found = re.findall(r"^\s*listen (?:\[::\]:)?(\d+)( ssl)?(?: [^;]*)?;", nginx_conf, re.MULTILINE)
    return list(dict.fromkeys(int(port) for port, ssl in found if bool(ssl) == tls))


def is_loopback(address: str) -> bool:
    return address not in ("*", "0.0.0.0", "::") and ipaddress.ip_address(address).is_loopback


def owners_of_secrets(tree: Seen, kind: str) -> list[str]:
    """Whose passwords (``kind`` "passwords") or keys ("keys") a host holds."""
    folder = f"{secrets.ROOT}/{kind}/"
    return sorted(path.removeprefix(folder) for path in tree if path.startswith(folder))
