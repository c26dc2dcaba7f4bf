"""A new release beside the old one: decided and told, brought, staged, handed to the host, steered and followed."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem import journal, reportfile
from tandem.config.case_files import document
from tandem.domain import upgrade_choice, upgrade_plan, upgrade_ways
from tandem.domain.refused import Refused
from tandem.domain.slots import engine_unit
from tandem.domain.units import Unit
from tandem.domain.upgrade_choice import Choice
from tandem.domain.upgrade_orders import steering
from tandem.facts.ctl import CtlStatus
from tandem.facts.tree import TreeState
from tandem.hostside.state import SCHEMA
from tandem.operations import rollout, runtime, tree, units, weights
from tandem.render.engine import QUADLETS, render_engine
from tandem.render.prober import CASES, render_prober
from tandem.render.release import release_digest
from tandem.render.tree import Tree
from tandem.steps import bundle, planning
from tandem.steps.rollback import reason
from tandem.steps.run import Run
from tandem.steps.status import wanted

MOVE, FOLLOW, AGAIN = "move", "follow", "again"
"""``--data move=50|hold|resume|finish`` steers the rollout; ``--data follow=true`` stays until it is over or held;
``--data again=true`` begins also what was undone before.
"""


@dataclass(frozen=True)
class Upgrade:
    """``order`` is what the host is told to do; {} where nothing is to be begun."""

    run: Run
    choice: Choice
    slot: str
    order: Mapping[str, Any]


def steered() -> bool:
    """Whether ``--data move=...`` was given: then that is all that is done, whatever the configuration says."""
    value = host.data.get(MOVE, None)
    if value is None:
        return False
    journal.start("upgrade")
    try:
        words = steering(value, reason())
    except Refused as refusal:
        raise DeployError(f"{host.name}: {refusal}") from None
    rollout.steer(name="Steer the rollout", words=words)
    return True


def plan(run: Run) -> Upgrade:
    """Says how the wanted release would take its place, or that it has. Raises DeployError for what can't be begun."""
    wanted(FOLLOW)  # a mistake in it is better known now than after the upgrade
    digest, name = release_digest(run.config), run.config.release
    try:
        choice = upgrade_choice.decide(run.state, name, digest, run.config.engine.cards, wanted(AGAIN))
        if choice == "begin":
            return _begin(bundle.check(run), digest)
    except Refused as refusal:
        raise DeployError(f"{run.name}: {refusal}") from None
    under_way = run.state.rollout
    if under_way is None:
        journal.remark(host, f"nothing to do: release {name} ({digest}) serves from {run.state.serving}")
        return Upgrade(run, choice, run.state.serving or "", {})
    held = f", held: {under_way.held}" if under_way.held else ""
    journal.remark(host, f"the rollout of {name} goes on: {under_way.phase}, {under_way.weight} % of requests{held}")
    if _cases_there() not in ("", _cases_wanted(run)):
        journal.remark(
            host,
            f"the cases were edited since this rollout began: it keeps those that it began with ({CASES} was left "
            "untouched); yours count from the next rollout on",
        )
    return Upgrade(run, choice, under_way.swap.new, {})


@deploy("Release")
def bring(upgrade: Upgrade) -> None:
    """The image and the model files of the new release. Nothing is removed for them: that is asked for apart."""
    if upgrade.choice != "begin":
        return
    config, manifest = upgrade.run.config.weights, upgrade.run.config.wanted.model.manifest
    runtime.images(
        name="Container images",
        wanted=[upgrade.run.config.wanted.image],
        store=upgrade.run.config.runtime.image_store,
        sources=[source.model_dump() for source in upgrade.run.config.runtime.image_sources],
    )
    weights.publish(
        name="Model files",
        directory=config.directory,
        models={manifest.revision: manifest.model_dump(include={"repository", "files"})},
        sources=[source.model_dump() for source in config.sources],
        parallel_downloads=config.parallel_downloads,
        stall_timeout_seconds=config.stall_timeout_seconds,
        mounted=upgrade.run.config.storage is not None,
    )


@deploy("Staging")
def stage(upgrade: Upgrade) -> None:
    """The engines' units in the idle slot, known to systemd and not started: the host does that in its time."""
    if upgrade.choice == "nothing":
        return
    config, slot = upgrade.run.config, upgrade.slot
    if upgrade.choice == "begin":
        rollout.prepare(name="Park the idle slot", slot=slot, cards=list(config.engine.cards), order=upgrade.order)
    # Units for cards that an earlier release had in this slot go.
    files = render_engine(config, slot) | render_prober(config.upgrade.comparison)
    if upgrade.choice == "continue" and _cases_there():
        files = Tree({path: entry for path, entry in files.entries.items() if path != CASES}, files.groups)
    tree.apply(name="Files of the release", tree=files, prune=(f"{QUADLETS}/vllm-{slot}-",))
    names = [f"{engine_unit(slot, card)}.service" for card in config.engine.cards]
    units.converge(
        name="Units of the release", wanted=[Unit(one, enable=False, restart=False, run=False) for one in names]
    )


@deploy("Rollout")
def start(upgrade: Upgrade) -> None:
    """The host takes over: from here on nobody has to be connected. Stays with ``--data follow=true``."""
    if upgrade.order:
        rollout.begin(name="Begin the rollout", order=upgrade.order)
    if upgrade.choice != "nothing":
        follow()


def follow() -> None:
    """With ``--data follow=true``: tells how it goes until it is over or held, and brings the report."""
    if wanted(FOLLOW):
        rollout.follow(name="Follow the rollout", place=reportfile.folder("upgrade", host))


def _begin(run: Run, digest: str) -> Upgrade:
    """Raises Refused for what the cards can't do or nobody consented to."""
    if host.get_fact(CtlStatus).get("schema") != SCHEMA:
        raise Refused("its tandemctl is of another version. Nothing was changed. Run deploys/install.py first.")
    upgrade_choice.comparable(len(run.config.upgrade.comparison.cases), run.config.upgrade.comparison.least_cases)
    told = planning.told(run, digest)
    upgrade_ways.consented(told.way, run.config.upgrade.allow_gap, told.old.release, told.new.release, told.gap)
    lines = upgrade_plan.lines(told)
    for line in lines:
        logger.info(f"[{host.name}] {line}")
    journal.start("upgrade").record.write("plan", host=host.name, lines=lines)
    order = planning.order(told, run.config.upgrade.allow_gap)
    bound = {"units": planning.units(run.config, told.new_slot), "cases": _cases_wanted(run)}
    return Upgrade(run, "begin", told.new_slot, {**order, **bound})


def _cases_there() -> str:
    """SHA-256 of the cases on the host; "" where there are none."""
    seen = host.get_fact(TreeState, question={"paths": [CASES], "generated": [], "groups": []})
    return str(seen["entries"].get(CASES, {}).get("sha256") or "")


def _cases_wanted(run: Run) -> str:
    return sha256(document(run.config.upgrade.comparison.cases).encode()).hexdigest()
