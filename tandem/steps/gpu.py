from collections.abc import Sequence
from typing import Any, Final

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.domain.gpu import Wanted, decide
from tandem.domain.slots import card_of, engine_unit
from tandem.facts.gpu import GpuState
from tandem.operations import gpu, tree, units
from tandem.render.bundle import apt_options, render_bundle
from tandem.render.engine import engine_environment
from tandem.render.gpu import gpu_units, render_gpu
from tandem.render.updates import render_updates
from tandem.steps.run import Run

OUTAGE_MINUTES: Final = "5 to 20"
"""Drain, installation with a module build, a server's reboot, and the engines' start."""


@deploy("GPU")
def driver(run: Run) -> None:
    """Driver, container toolkit and CDI; what can't be done is refused before any operation of the run."""
    wanted, cards, engines = _wanted(run), run.config.engine.cards, _serving_engines(run)
    due = _due(wanted, cards, engines) if wanted.source != "none" or wanted.toolkit else False
    # A package source that is no longer named must be gone before the next package comes.
    sources = render_gpu(run.config) | render_bundle(run.config) | render_updates(run.config)
    tree.apply(name="Files of the cards", tree=sources, prune=("/etc/apt/",))
    if due:
        gpu.driver(name="Driver and container toolkit", wanted=wanted, apt=_apt(run), cards=cards, engines=engines)
    units.converge(name="Units of the cards", wanted=gpu_units(run.config))


def _due(wanted: Wanted, cards: Sequence[int], engines: Sequence[str]) -> bool:
    """Whether there is anything to do; raises DeployError where it can't be done."""
    seen = host.get_fact(GpuState)
    work = decide(wanted, seen, bool(engines), cards)
    if work.refusal:
        raise DeployError(f"{host.name}: {work.refusal}")
    for sentence in work.remarks:
        journal.remark(host, sentence)
    if engines and work.change:
        gap = (
            f"planned maintenance: driver {work.change[0]} is replaced by {work.change[1]}; nothing is served from the "
            f"drain on until the engines are back, {OUTAGE_MINUTES} minutes"
        )
        logger.warning(f"[{host.name}] {gap}")
        journal.remark(host, gap)
    return not work.empty


@deploy("CUDA")
def prove(run: Run) -> None:
    """CUDA in the engine's image, confined as the engine is: nvidia-smi does not show what fails there."""
    job = {
        "image": run.config.wanted.image,
        "cards": list(run.config.engine.cards),
        "environment": engine_environment(run.config),
    }
    gpu.cuda(name="CUDA in the engine's container", job=job, apt=_apt(run), engines=_serving_engines(run))


def _wanted(run: Run) -> Wanted:
    config = run.config.gpu
    return Wanted(
        source=config.driver_source,
        branch=config.driver_branch,
        version=config.driver_version or "",
        toolkit=config.container_toolkit,
        cuda_toolkit=config.cuda_toolkit,
        allow_reboot=config.allow_reboot,
        allow_outage=config.allow_outage,
    )


def _serving_engines(run: Run) -> list[str]:
    """Every engine of every slot that is recorded; [] while nothing serves."""
    if run.state.serving is None:
        return []
    ports = [(name, port) for name, slot in sorted(run.state.slots.items()) for port in slot.engine_ports]
    return [f"{engine_unit(name, card_of(name, port))}.service" for name, port in ports]


def _apt(run: Run) -> dict[str, Any]:
    limit_seconds = run.config.host.package_mirror_timeout_seconds
    return {"timeout_seconds": limit_seconds, "apt_options": apt_options(run.config)}
