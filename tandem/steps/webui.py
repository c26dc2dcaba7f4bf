"""Open WebUI's image: an install leaves the one that serves alone, an upgrade lets another one take over."""

from functools import cache
from typing import Any

from pyinfra import host, logger
from pyinfra.api import deploy

from tandem import journal
from tandem.domain.slots import webui_unit
from tandem.domain.units import Unit
from tandem.domain.webui_switch import CLOSED, other
from tandem.facts.webui import WebuiSeen
from tandem.operations import runtime, tree, units, webui
from tandem.render.webui import render_webui
from tandem.steps.run import Run


def is_another(run: Run) -> bool:
    """Another image than the wanted one serves: its unit and its data stay as they are until an upgrade.

    Everything else about the WebUI (its name, its environment) is changed in place, by a restart.
    """
    return run.state.webui is not None and _serving(run) not in (None, run.config.webui.image)


def say_due(run: Run) -> None:
    """For an install."""
    if is_another(run):
        journal.remark(
            host,
            f"the WebUI {_serving(run)} serves and was left alone; {run.config.webui.image} is wanted: upgrade is due",
        )


@deploy("WebUI")
def open_again(run: Run) -> None:
    """Before anything else asks the WebUI: the page is not left closed by a switch that was cut short."""
    _open_again(run)


@deploy("WebUI")
def upgrade(run: Run, engines_first: bool) -> None:
    """The wanted image beside the one that serves: tried on a copy of the data, then in its place.

    ``engines_first``: a rollout of the engines begins in this run, or is under way.
    """
    now = run.state.webui
    if now is None:
        return
    if not is_another(run):
        _open_again(run)
        return
    image, slot = run.config.webui.image, other(now.slot)
    if engines_first or run.state.rollout is not None:
        journal.remark(host, f"{image} comes after the engines: run upgrade again once their rollout has ended")
        return
    _say_plan(run, slot)
    runtime.images(
        name="Image",
        wanted=[image],
        store=run.config.runtime.image_store,
        sources=[source.model_dump() for source in run.config.runtime.image_sources],
    )
    webui.prepare(name="Park the other slot", slot=slot)
    tree.apply(name="Files of the other slot", tree=render_webui(run.config, slot), prune=())
    units.converge(
        name="Unit of the other slot",
        wanted=[Unit(f"{webui_unit(slot)}.service", enable=False, restart=False, run=False)],
    )
    webui.switch(
        name="Switch",
        order={
            "slot": slot,
            "image": image,
            "model": (run.state.current and run.state.current.model) or run.config.wanted.model.name,
            "ready_seconds": run.config.webui.ready_timeout_seconds,
            "drain_seconds": run.config.engine.shutdown_timeout_seconds,
        },
    )


def _open_again(run: Run) -> None:
    if run.state.webui and run.state.webui.port == CLOSED:
        webui.mend(name="Open the page again")


def _say_plan(run: Run, slot: str) -> None:
    seen = host.get_fact(WebuiSeen)
    lines = [
        f"WebUI: {_serving(run)} in {other(slot)} -> {run.config.webui.image} in {slot}",
        "WebUI: it is tried on a copy of the data first; if it does not pass, nothing changes",
        f"WebUI: then the page is away (503, it tries again by itself): {_gap(seen)}",
        "WebUI: the old version stays beside, with its data as of the switch: tandemctl webui back",
    ]
    for line in lines:
        logger.info(f"[{host.name}] {line}")
    journal.start("upgrade").record.write("plan", host=host.name, lines=lines)


def _gap(seen: dict[str, Any]) -> str:
    if seen["gap_seconds"] is not None:
        return f"{seen['gap_seconds']:.0f} s in the last switch; for this one the trial measures it, and says it before"
    return "the trial measures for how long, and says it before"


def _serving(run: Run) -> str | None:
    """The image in the unit of the slot that serves, before this run; None where the unit is gone."""
    return _image(run.name, run.webui_slot)


@cache
def _image(name: str, slot: str) -> str | None:
    """Asked once per host and run. ``name``: of the host that is worked on now."""
    image: str | None = host.get_fact(WebuiSeen)["slots"][slot]["image"]
    return image
