import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from tandem.config.base import Items, Model


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network; give ADDRESS/LENGTH, e.g. 192.168.1.0/24 or 2001:db8::/32"
        ) from None
    return text


Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]


class FirewallConfig(Model):
    """What may come in: HTTPS, HTTP, SSH from these networks, and nothing else."""

    enabled: bool = Field(
        default=True, description="False: no rule and no SSH setting of ours; another firewall guards."
    )
    ssh_from: Items[Network] = Field(
        default=("0.0.0.0/0", "::/0"), min_length=1, description="Networks that SSH answers."
    )
    open_ports: Items[Port] = Field(default=(), description="Further TCP ports that answer everybody.")
    open_udp_ports: Items[Port] = Field(
        default=(), description="UDP ports that answer everybody: a VPN's on this host, for one."
    )
    confirm_seconds: int = Field(
        default=60, ge=10, description="New rules are taken back after so long unless a new SSH connection works."
    )
