"""``Config`` -> the whole tree of a host, and the units that run from it. Pure."""

import hashlib
from typing import Final

from tandem.config import Config
from tandem.domain.slots import engine_unit, webui_unit
from tandem.domain.units import Unit
from tandem.render.backup import backup_units, render_backup
from tandem.render.bundle import render_bundle
from tandem.render.certificate import certificate_units, render_certificate
from tandem.render.edge import render_edge, served_edge
from tandem.render.engine import engine_path, render_engine
from tandem.render.firewall import render_firewall
from tandem.render.gate import render_gate, served_gate
from tandem.render.gpu import render_gpu
from tandem.render.guard import GUARD, render_guard
from tandem.render.host import render_foundation, render_secrets
from tandem.render.logs import render_logs
from tandem.render.prober import prober_units, render_prober
from tandem.render.rotation import render_rotation, rotation_units
from tandem.render.router import render_router, served_routers
from tandem.render.runtime import render_runtime
from tandem.render.storage import render_storage
from tandem.render.tree import File, Tree
from tandem.render.updates import render_updates
from tandem.render.webui import render_library, render_webui, webui_path

# Only the edge holds clients' kept-alive connections. Measured: tests/bench/edge.py.
RELOAD_LOSS: Final = {
    "tandem-edge": "the edge takes over another configuration: streams go on, but of the clients that send on a "
    "kept-alive connection at that moment about one in eight has to repeat its request"
}
RESTART_LOSS: Final = {
    "tandem-edge": "the edge is restarted: its streams may finish for 30 s, and nobody can connect until then",
    "tandem-gate": "the gate is restarted: for about a second nobody new comes in (503)",
    "tandem-router-engine": "the engine router is restarted: its answers may finish for 30 s, and new ones are refused "
    "(503) until then",
    "tandem-router-webui": "the WebUI router is restarted: the page is away (503) for up to 30 s",
}


def render_host(
    host: str, config: Config, slot: str, engines: bool = True, webui_slot: str | None = None, webui: bool = True
) -> Tree:
    """Everything that Tandem owns on ``host`` when the wanted release runs in ``slot`` and the WebUI in ``webui_slot``
    (None: in the same).

    ``engines=False`` leaves the engines out: another release serves, and its units stay as they were staged.
    """
    return (
        render_foundation()
        | render_updates(config)
        | render_logs(config)
        | render_firewall(config)
        | render_secrets(config)
        | render_storage(host, config)
        | render_bundle(config)
        | render_gpu(config)
        | render_runtime(config)
        | render_slot(config, slot, engines, webui_slot, webui)
        | render_guard(config)
        | render_prober(config.upgrade.comparison)
        | render_router(config)
        | render_gate(config)
        | render_rotation(config)
        | render_certificate(config)
        | render_backup(config)
        | render_edge(config)
    )


def render_slot(
    config: Config, slot: str, engines: bool = True, webui_slot: str | None = None, webui: bool = True
) -> Tree:
    """What answers behind the routers: the engines of one slot, and the WebUI in its own (None: in the same)."""
    page = render_webui(config, webui_slot or slot) if webui else render_library(config)
    return (render_engine(config, slot) if engines else Tree()) | page


def slot_units(
    config: Config,
    slot: str,
    engines: bool = True,
    restart_engines: bool = False,
    webui_slot: str | None = None,
    webui: bool = True,
) -> list[Unit]:
    """The units of what answers. ``restart_engines``: only while nothing serves; else a changed engine is a new
    release.
    """
    page = webui_slot or slot
    tree = render_slot(config, slot, engines, page, webui)
    wanted = []
    for card in config.engine.cards if engines else ():
        started = _started(tree, engine_path(slot, card))
        wanted.append(Unit(f"{engine_unit(slot, card)}.service", started, enable=False, restart=restart_engines))
    page_started = _started(tree, webui_path(page)) if webui else None
    return [*wanted, Unit(f"{webui_unit(page)}.service", page_started, enable=False, restart=webui)]


def front_units(config: Config) -> list[Unit]:
    """The routers, the gate and the edge, in the order in which they are started."""
    tree = render_router(config) | render_gate(config) | render_edge(config)
    served = served_routers(config) | served_gate(config) | served_edge(config)
    return [
        Unit(
            f"{name}.service",
            _started(tree, f"/etc/systemd/system/{name}.service"),
            digest,
            reload_loss=RELOAD_LOSS.get(name, ""),
            restart_loss=RESTART_LOSS.get(name, ""),
        )
        for name, digest in served.items()
    ]


def guard_units(config: Config) -> list[Unit]:
    """The guard, and the prober that it starts."""
    tree = render_guard(config)
    guard = Unit(f"{GUARD}.service", _started(tree, f"/etc/systemd/system/{GUARD}.service"))
    return [guard, *prober_units()]


def renewal_units(config: Config) -> list[Unit]:
    """The timers that renew what must not grow old."""
    return [*rotation_units(config), *certificate_units(config), *backup_units(config)]


def _started(tree: Tree, path: str) -> str:
    """The SHA-256 of the unit file: what the unit writes down of itself when it starts."""
    entry = tree.entries[path]
    if not isinstance(entry, File):
        raise ValueError(f"{path} is not a file")
    return hashlib.sha256(entry.content.encode()).hexdigest()
