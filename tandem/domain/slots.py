"""Where everything runs: slots, unit names, ports, users. The one table of ports in the code."""

from typing import Final

SLOTS: Final = ("blue", "green")
FIRST_SLOT: Final = "blue"

ENGINE_BASE_PORT: Final = {"blue": 18100, "green": 18200}
WEBUI_PORT: Final = {"blue": 18300, "green": 18400}
ROUTER_ENGINE_API_PORT: Final = 18500  # /v1 from the edge
ROUTER_ENGINE_WEBUI_PORT: Final = 18501  # /v1 from Open WebUI
ROUTER_WEBUI_PORT: Final = 18600  # the page, from the edge
GATE_PORT: Final = 18610  # the edge asks here who may come in
STATUS_PORT: Final = {
    "tandem-edge": 18700,
    "tandem-router-engine": 18701,
    "tandem-router-webui": 18702,
    "tandem-gate": 18703,
}
"""Loopback listeners that answer /config with the hash of the active configuration."""

UIDS: Final = {
    "tandem-engine": 59001,
    "tandem-webui": 59002,
    "tandem-edge": 59003,
    "tandem-router": 59004,
    "tandem-gate": 59005,
    "tandem-prober": 59006,
}
"""Fixed user and group ids. Containers run by number: a number that somebody else had could read our processes."""


def engine_port(slot: str, card: int) -> int:
    """The loopback port of the engine of ``slot`` on ``card`` (0-99)."""
    return ENGINE_BASE_PORT[slot] + card


def card_of(slot: str, port: int) -> int:
    """The card of the engine of ``slot`` at ``port``: the inverse of ``engine_port``."""
    return port - ENGINE_BASE_PORT[slot]


def engine_unit(slot: str, card: int) -> str:
    return f"vllm-{slot}-{card}"


def webui_unit(slot: str) -> str:
    return f"open-webui-{slot}"
