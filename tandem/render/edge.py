"""The edge: the one Nginx that answers the world. It holds nobody's password or key; it asks the gate. Pure."""

from dataclasses import dataclass
from typing import Final

from tandem.config.root import Config
from tandem.domain.slots import GATE_PORT, ROUTER_ENGINE_API_PORT, ROUTER_WEBUI_PORT, STATUS_PORT
from tandem.render.nginx import INFERENCE_BODY_MIB, config_digest, process, rate_zone, unavailable_page, validation
from tandem.render.templates import render_template
from tandem.render.tree import Tree

UNIT: Final = "tandem-edge"
FOLDER: Final = "/etc/tandem/edge"
NGINX: Final = f"/usr/sbin/nginx -e stderr -p /run/{UNIT}/ -c {FOLDER}/current/nginx.conf"

INFERENCE: Final = {
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/models": "GET",
    "/v1/responses": "POST",
}
"""The API routes that are served, each with its one method. vLLM has many more, some of them open to all."""

NEVER_PUBLIC: Final = (
    "/abort_requests",
    "/collective_rpc",
    "/detokenize",
    "/docs",
    "/finish_weight_update",
    "/generative_scoring",
    "/get_world_size",
    "/inference",
    "/init_weight_transfer_engine",
    "/invocations",
    "/is_paused",
    "/is_scaling_elastic_ep",
    "/is_sleeping",
    "/kv_event_sources",
    "/load",
    "/metrics",
    "/openapi.json",
    "/pause",
    "/ping",
    "/redoc",
    "/release_kv_cache_memory",
    "/reset_encoder_cache",
    "/reset_mm_cache",
    "/reset_prefix_cache",
    "/resume",
    "/scale_elastic_ep",
    "/server_info",
    "/shutdown_weight_transfer_engine",
    "/sleep",
    "/start_draft_weight_update",
    "/start_weight_update",
    "/tokenize",
    "/update_weight_version",
    "/update_weights",
    "/version",
    "/wake_up",
    "/weight_checker",
    "/weight_info",
)
"""Refused even with the password: none is a page of Open WebUI, and most are routes of vLLM that need no key."""

STRIPPED: Final = tuple(
    f"X-OpenWebUI-{name}"
    for name in ("User-Id", "User-Name", "User-Email", "User-Role", "Chat-Id", "Message-Id", "Task", "Session-Id")
)
"""Headers that Open WebUI sends to the engines; from outside they would be a claim that nobody checked."""

CHALLENGES: Final = "/var/lib/tandem/acme/challenges"
"""Where the ACME client puts what an authority asks for on port 80."""


@dataclass(frozen=True)
class EdgePlaces:
    """Where the edge finds things on the host."""

    secrets: str = "/run/tandem-edge-secrets"
    access_log: str = "syslog:server=unix:/dev/log,nohostname,tag=tandem_edge"
    challenges: str = CHALLENGES
    gate_port: int = GATE_PORT
    engine_port: int = ROUTER_ENGINE_API_PORT
    webui_port: int = ROUTER_WEBUI_PORT
    status_port: int = STATUS_PORT[UNIT]


ON_THE_HOST: Final = EdgePlaces()


def edge_config(config: Config, places: EdgePlaces = ON_THE_HOST) -> str:
    """nginx.conf of the edge, with the placeholder of its own digest still in it."""
    return render_template(
        "edge/nginx.conf.j2",
        **vars(places),
        http_port=config.edge.http_port,
        https_port=config.edge.https_port,
        maximum_body_mib=config.edge.maximum_body_mib,
        longest_stream_seconds=config.router.longest_stream_seconds,
        inference=INFERENCE,
        inference_body_mib=min(INFERENCE_BODY_MIB, config.edge.maximum_body_mib),
        page_zone=rate_zone("page", "$binary_remote_addr", config.edge.page_limit),
        page_burst=config.edge.page_limit.burst,
        hsts_seconds=config.edge.hsts_seconds,
        never_public=NEVER_PUBLIC,
        stripped_headers=STRIPPED,
        unavailable_page=unavailable_page(),
    )


def render_edge(config: Config) -> Tree:
    """The edge's configuration group, unit file and boot link."""
    secrets = ON_THE_HOST.secrets
    service = render_template("edge/tandem-edge.service.j2", nginx=NGINX, secrets=secrets)
    # The candidate is tested with the right to bind low ports, because nginx -t binds them.
    validate = validation(
        UNIT,
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        f"BindReadOnlyPaths=/etc/tandem/secrets/edge:{secrets}",
    )
    return process(UNIT, FOLDER, edge_config(config), service, validate)


def served_edge(config: Config) -> dict[str, str]:
    """Unit -> digest that its /config answers first once it serves this configuration."""
    return {UNIT: config_digest(edge_config(config))}
