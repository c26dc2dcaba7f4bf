"""The two routers: loopback-only Nginx processes that send requests to slots. Both come from one template. Pure.

The split itself (``tandem.hostside.split``) is written on the host and included by path.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from tandem.config.root import Config
from tandem.domain.slots import (
    ROUTER_ENGINE_API_PORT,
    ROUTER_ENGINE_WEBUI_PORT,
    ROUTER_WEBUI_PORT,
    STATUS_PORT,
)
from tandem.render.edge import STRIPPED
from tandem.render.nginx import (
    INFERENCE_BODY_MIB,
    Zone,
    config_digest,
    process,
    rate_zone,
    unavailable_page,
    validation,
)
from tandem.render.templates import render_template
from tandem.render.tree import Tree


@dataclass(frozen=True)
class Router:
    """One router: what it carries and where it listens."""

    kind: Literal["engine", "webui"]
    purpose: str
    ports: tuple[int, ...]
    status_port: int
    split: str
    access_log: str = "syslog:server=unix:/dev/log,nohostname,tag=tandem_router"

    @property
    def unit(self) -> str:
        return f"tandem-router-{self.kind}"

    @property
    def config_folder(self) -> str:
        return f"/etc/tandem/router-{self.kind}"


ENGINE: Final = Router(
    "engine",
    "inference only, split between slots; all that a shift reloads.",
    (ROUTER_ENGINE_API_PORT, ROUTER_ENGINE_WEBUI_PORT),
    STATUS_PORT["tandem-router-engine"],
    "/var/lib/tandem/split/engine.conf",
)
WEBUI: Final = Router(
    "webui",
    "the page and its websockets, to one slot; reloaded only by a WebUI switch.",
    (ROUTER_WEBUI_PORT,),
    STATUS_PORT["tandem-router-webui"],
    "/var/lib/tandem/split/webui.conf",
)


def router_config(config: Config, router: Router) -> str:
    """nginx.conf of one router, with the placeholder of its own digest still in it."""
    return render_template(
        "router/nginx.conf.j2",
        **vars(router),
        longest_stream_seconds=config.router.longest_stream_seconds,
        inference_body_mib=INFERENCE_BODY_MIB,
        unavailable_page=unavailable_page(),
        person_zone=rate_zone("person", "$limited_person", config.router.user_limit),
        person_burst=config.router.user_limit.burst,
        person_streams_zone=Zone("person_streams", "$limited_person"),
        person_streams=config.router.user_streams,
        clients=_clients(config),
        stripped_headers=(*STRIPPED, "X-Tandem-Client"),
    )


def _clients(config: Config) -> list[dict[str, Any]]:
    """Every API client with the zone that counts its streams."""
    found = []
    for number, (name, client) in enumerate(sorted(config.edge.clients.items())):
        variable = f"streams_of_{number}"
        found.append(
            {"name": name, "variable": variable, "zone": Zone("streams", f"${variable}"), "streams": client.streams}
        )
    return found


def render_router(config: Config) -> Tree:
    """Both routers' configuration groups, unit files and boot links."""
    return _render_one(config, ENGINE) | _render_one(config, WEBUI)


def _render_one(config: Config, router: Router) -> Tree:
    service = render_template(
        "router/router.service.j2",
        unit=router.unit,
        purpose=router.purpose.rstrip("."),
        user="tandem-router",
        secrets="",
        config_folder=router.config_folder,
        nginx=f"/usr/sbin/nginx -e stderr -p /run/{router.unit}/ -c {router.config_folder}/current/nginx.conf",
    )
    validate = validation("tandem-router", "CapabilityBoundingSet=")
    return process(router.unit, router.config_folder, router_config(config, router), service, validate)


def served_routers(config: Config) -> dict[str, str]:
    """Unit -> digest that its /config answers once it serves this configuration."""
    return {router.unit: config_digest(router_config(config, router)) for router in (ENGINE, WEBUI)}
