"""The gate: an Nginx on loopback that holds keys and passwords, and tells the edge who may pass. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from tandem.config.edge import Limit
from tandem.config.root import Config
from tandem.domain.slots import GATE_PORT, STATUS_PORT
from tandem.render.nginx import config_digest, process, rate_zone, validation
from tandem.render.templates import render_template
from tandem.render.tree import Tree

UNIT: Final = "tandem-gate"
FOLDER: Final = "/etc/tandem/gate"
SECRETS: Final = "/etc/tandem/secrets/gate"
NGINX: Final = f"/usr/sbin/nginx -e stderr -p /run/{UNIT}/ -c {FOLDER}/current/nginx.conf"

ALL_PASSWORDS: Final = Limit(requests_per_second=20, burst=40)
"""Of everybody together: checking one takes some 5 ms of a worker, so this is a tenth of one processor."""


@dataclass(frozen=True)
class GatePlaces:
    """Where the gate finds things on the host."""

    secrets: str = "/run/tandem-gate-secrets"
    port: int = GATE_PORT
    status_port: int = STATUS_PORT[UNIT]


ON_THE_HOST: Final = GatePlaces()


def gate_config(config: Config, places: GatePlaces = ON_THE_HOST) -> str:
    """nginx.conf of the gate, with the placeholder of its own digest still in it."""
    clients = _clients(config)
    password = rate_zone("password", "$password_from", config.edge.password_limit)
    passwords = rate_zone("passwords", "$password", ALL_PASSWORDS)
    return render_template(
        "gate/nginx.conf.j2",
        **vars(places),
        clients=clients,
        password_zone=password,
        password_burst=config.edge.password_limit.burst,
        all_passwords_zone=passwords,
        all_passwords_burst=ALL_PASSWORDS.burst,
        zones=[*(client["zone"] for client in clients), password, passwords],
    )


def _clients(config: Config) -> list[dict[str, Any]]:
    """Every API client with the zone that counts its requests."""
    found = []
    for number, (name, client) in enumerate(sorted(config.edge.clients.items())):
        variable = f"requests_of_{number}"
        zone = rate_zone("requests", f"${variable}", client)
        found.append({"name": name, "variable": variable, "zone": zone, "burst": client.burst})
    return found


def render_gate(config: Config) -> Tree:
    """The gate's configuration group, unit file and boot link."""
    secrets = f"{SECRETS}:{ON_THE_HOST.secrets}"
    service = render_template(
        "router/router.service.j2",
        unit=UNIT,
        purpose="says who may pass the edge: keys, passwords and their limits",
        config_folder=FOLDER,
        nginx=NGINX,
        user=UNIT,
        secrets=secrets,
    )
    validate = validation(UNIT, "CapabilityBoundingSet=", f"BindReadOnlyPaths={secrets}")
    return process(UNIT, FOLDER, gate_config(config), service, validate)


def served_gate(config: Config) -> dict[str, str]:
    """Unit -> digest that its /config answers first once it serves this configuration."""
    return {UNIT: config_digest(gate_config(config))}
