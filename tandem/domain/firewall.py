"""What may come in, and whether a host lets in anything else: decided from what the host says. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TABLE: Final = "inet tandem"
FOLDER: Final = "/etc/tandem/firewall"
RULES: Final = "rules.nft"
PORTS: Final = "tandem-ssh-ports.nft"
"""Where sshd listens: found on the host, and included by the rules."""
SSHD: Final = "/etc/ssh/sshd_config.d/10-tandem.conf"
UNIT: Final = "tandem-firewall.service"
UNIT_FILES: Final = (f"/etc/systemd/system/{UNIT}", "/etc/systemd/system/nftables.service.d/60-tandem.conf")

STRICT: Final = {
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitrootlogin": ("prohibit-password", "without-password", "forced-commands-only", "no"),
}
"""What ``sshd -T`` must say, whatever other files there are: at least as strict as ours."""


@dataclass(frozen=True)
class Wanted:
    """The texts of rules and sshd settings; "" for none at all."""

    rules: str = ""
    sshd: str = ""


@dataclass(frozen=True)
class Work:
    """``due``: one sentence for each thing that is not as wanted. ``refusal``: why it can't be made so."""

    due: tuple[str, ...] = ()
    refusal: str = ""


def ports_text(ports: list[int]) -> str:
    return f"define tandem_ssh_ports = {{ {', '.join(str(port) for port in ports)} }}\n"


def lax(effective: Mapping[str, str]) -> list[str]:
    """The settings with which sshd still takes passwords, as ``name value``."""
    return [f"{name} {effective[name]}" for name, strict in STRICT.items() if effective.get(name, "no") not in strict]


def decide(wanted: Wanted, seen: Mapping[str, Any]) -> Work:
    """What differs on a host from ``wanted``; ``seen`` is what ``tandem.hostside.observe_firewall`` says of it."""
    if not wanted.rules:
        there = [*(["the table in force"] if seen["loaded"] != "none" else []), *seen["present"]]
        return Work(tuple(f"removed {what}: firewall/enabled is False" for what in there))
    if not seen["ssh_ports"]:
        return Work(
            refusal="no SSH server was found listening, so rules that let it in can't be made; nothing was changed: "
            "start sshd, or set firewall/enabled to False"
        )
    due = []
    if seen["loaded"] == "none":
        due.append("put the firewall's rules in force: there were none")
    elif seen["loaded"] == "other":
        due.append("put the firewall's rules in force: there were others")
    due += [f"{'wrote' if path in seen['present'] else 'made'} {path}" for path in seen["different"]]
    if seen["loaded"] == "same" and not due and lax(seen["sshd"]):
        due.append(f"made sshd take keys only: it had {', '.join(lax(seen['sshd']))}")
    return Work(tuple(due))


def locks_out(connection: Mapping[str, Any]) -> str:
    """Why keys-only SSH would keep the operator out, from the inventory's connection data; "" when it would not."""
    if connection.get("ssh_password") and not connection.get("ssh_key"):
        return (
            "the inventory has ssh_password and no ssh_key, and from now on SSH takes keys only; nothing was changed: "
            "put a key into authorized_keys and give ssh_key, or set firewall/enabled to False"
        )
    return ""
