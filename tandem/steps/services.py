from pyinfra import host
from pyinfra.api import deploy

from tandem import journal
from tandem.domain.rollout import Slot
from tandem.domain.slots import SLOTS, WEBUI_PORT, card_of, engine_port, engine_unit, webui_unit
from tandem.domain.units import Unit
from tandem.operations import ctl, tree, units
from tandem.render import front_units, guard_units, render_host, render_slot, renewal_units, slot_units
from tandem.render.engine import engine_path
from tandem.render.gpu import CDI_UNIT
from tandem.render.release import release_digest
from tandem.render.webui import data_directory, webui_path
from tandem.steps import webui
from tandem.steps.run import Run


@deploy("Slot")
def start(run: Run) -> None:
    """The engines and the WebUI, started and proven by a real completion before anything is routed to them."""
    config, slot, engines = run.config, run.slot, not run.engine_is_another
    page = not webui.is_another(run)
    tree.apply(name="Files of the slot", tree=render_slot(config, slot, engines, run.webui_slot, page), prune=())
    units.converge(
        name="Units of the slot",
        wanted=[*_kept_engines(run), *_slot_units(run, page)],
    )
    ctl.ready(
        name="A real completion",
        targets=_targets(run),
        timeout_seconds=max(config.engine.ready_timeout_seconds, 2 * config.webui.ready_timeout_seconds),
        restart_webui_after_seconds=None if run.state.serving else config.webui.ready_timeout_seconds,
    )


@deploy("Front")
def route(run: Run) -> None:
    """The record of what serves, the whole file tree, and the routers and the edge."""
    config, slot = run.config, run.slot
    ports = tuple(engine_port(slot, card) for card in config.engine.cards)
    ctl.adopt(
        name="What serves",
        slot=slot,
        wanted=Slot(
            config.release,
            release_digest(config),
            ports,
            100,
            model=config.wanted.model.name,
            revision=config.wanted.model.revision,
            image=config.wanted.image,
        ),
        webui_port=WEBUI_PORT[run.webui_slot],
    )
    if run.engine_is_another and (current := run.state.current):
        journal.remark(
            host,
            f"release {current.release} ({current.digest}) serves and its engines were left alone; "
            f"{config.release} ({release_digest(config)}) is wanted: upgrade is due",
        )
    webui.say_due(run)
    tree.apply(
        name="All files",
        tree=render_host(run.name, config, slot, not run.engine_is_another, run.webui_slot, not webui.is_another(run)),
        keep=_kept_paths(run),
    )
    units.converge(
        name="Routers, gate, edge and guard",
        wanted=[*front_units(config), *renewal_units(config), *guard_units(config)],
    )


def _slot_units(run: Run, page: bool) -> list[Unit]:
    first = run.state.serving is None
    return slot_units(run.config, run.slot, not run.engine_is_another, first, run.webui_slot, page)


def _kept_paths(run: Run) -> list[str]:
    """What the engines that serve were staged with: without it they would not start again."""
    if run.state.current is None:
        return []
    mounts = ["/etc/systemd/system/*.mount"] if run.engine_is_another or run.config.storage is None else []
    pages = [path for name in SLOTS for path in (webui_path(name), data_directory(name))]
    if not run.engine_is_another:
        return [*mounts, *pages]
    slots = run.state.slots.items()
    engines = [engine_path(name, card_of(name, port)) for name, slot in slots for port in slot.engine_ports]
    return [*engines, *mounts, *pages, f"/etc/systemd/system/{CDI_UNIT}"]


def _kept_engines(run: Run) -> list[Unit]:
    """The engines of another release that serves: started when they stand still, never restarted."""
    if run.state.current is None or not run.engine_is_another:
        return []
    names = [engine_unit(run.slot, card_of(run.slot, port)) for port in run.state.current.engine_ports]
    return [Unit(f"{name}.service", enable=False, restart=False) for name in names]


def _targets(run: Run) -> list[str]:
    config, slot = run.config, run.slot
    current = run.state.current
    ports = current.engine_ports if current else [engine_port(slot, card) for card in config.engine.cards]
    engines = [
        word
        for port in ports
        for word in ("--engine", f"{engine_unit(slot, card_of(slot, port))}=http://127.0.0.1:{port}")
    ]
    page = f"{webui_unit(run.webui_slot)}=http://127.0.0.1:{WEBUI_PORT[run.webui_slot]}"
    return [*engines, "--webui", page, "--model", config.wanted.model.name]
