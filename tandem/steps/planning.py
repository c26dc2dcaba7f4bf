"""What the plan of an upgrade is made of: read from the host and the configuration. Changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host

from tandem.config import Config
from tandem.config.release import Release
from tandem.domain import upgrade_changes, upgrade_ways
from tandem.domain.advance import Comparison, Pacing
from tandem.domain.capacity import Assessment, assess
from tandem.domain.cards import memory_mib
from tandem.domain.refused import Refused
from tandem.domain.rollout import Slot
from tandem.domain.slots import engine_port
from tandem.domain.upgrade_choice import idle_slot
from tandem.domain.upgrade_plan import Plan
from tandem.facts.tree import FileTexts
from tandem.render.engine import engine_path, render_engine
from tandem.render.tree import File
from tandem.steps import doctor
from tandem.steps.run import Run


def told(run: Run, digest: str) -> Plan:
    """The plan for the wanted release of this digest. Raises Refused for what can't start on these cards."""
    config, state, old_slot = run.config, run.state, run.state.serving or ""
    card, new_slot = config.engine.cards[0], idle_slot(old_slot)
    path = engine_path(old_slot, card)
    old_unit = host.get_fact(FileTexts, question=[path])[path]
    rendered = render_engine(config, old_slot).entries[path]
    old, past = state.slots[old_slot], state.past
    new = Slot(
        release=config.release,
        digest=digest,
        engine_ports=tuple(engine_port(new_slot, one) for one in config.engine.cards),
        weight=0,
        model=config.wanted.model.name,
        revision=config.wanted.model.revision,
        image=config.wanted.image,
        start_seconds=past.start_seconds if past and past.digest == digest else None,
    )
    return Plan(
        old_slot=old_slot,
        new_slot=new_slot,
        # A host that was installed by an earlier Tandem recorded neither.
        old=replace(
            old,
            image=old.image or upgrade_changes.image(old_unit),
            revision=old.revision or upgrade_changes.revision(old_unit),
        ),
        new=new,
        changes=upgrade_changes.changes(old_unit, rendered.content if isinstance(rendered, File) else ""),
        way=_way(run, old_unit),
        cards=config.engine.cards,
        convert_at=config.upgrade.convert_at,
        pacing=_pacing(run),
        comparison=_comparison(run),
        past=past,
    )


def order(plan: Plan, allow_gap: bool) -> dict[str, Any]:
    """What ``tandemctl upgrade begin`` reads."""
    new, pacing = plan.new, plan.pacing
    return {
        "release": new.release,
        "digest": new.digest,
        "model": new.model,
        "revision": new.revision,
        "image": new.image,
        "slot": plan.new_slot,
        "cards": list(plan.cards),
        "strategy": plan.way.strategy,
        "convert_at": plan.convert_at,
        "pacing": {**vars(pacing), "weights": list(pacing.weights)},
        "comparison": {**vars(plan.comparison), "limits_seconds": dict(plan.comparison.limits_seconds)},
        "allow_gap": allow_gap,
    }


def units(config: Config, slot: str) -> dict[str, str]:
    """SHA-256 by file name of the units that the release is: what is begun is what was planned, or nothing."""
    entries = render_engine(config, slot).entries.items()
    return {
        PurePosixPath(path).name: sha256(file.content.encode()).hexdigest()
        for path, file in entries
        if isinstance(file, File)
    }


def _way(run: Run, old_unit: str) -> upgrade_ways.Way:
    """From what the cards are, what the old release was started with, and what the new one asks for."""
    config, (found, _) = run.config, doctor.examine(run.config, "missing")
    sizes = memory_mib(found.get("bus", ()), found.get("smi", {}).get("cards", ""), config.engine.cards)
    revision = upgrade_changes.revision(old_unit)
    known = next((one for one in config.releases.values() if one.model.revision == revision), None)
    try:
        new = _assess(config.wanted, config.wanted.arguments, sizes)
    except ValueError as error:
        raise Refused(f"releases/{config.release}: {error}") from None
    try:
        old = _assess(known, upgrade_changes.arguments(old_unit), sizes) if known else None
    except ValueError:
        old = None  # it serves; only what it takes can't be computed
    return upgrade_ways.way(old, new, config.engine.cards)


def _assess(
    release: Release, arguments: Mapping[str, str | int | float | bool], sizes: Sequence[int]
) -> Assessment | None:
    """None where the cards do not tell their memory."""
    model = release.model.manifest
    return assess(model.config, model.weight_bytes, arguments, sizes, release.topology) if sizes else None


def _pacing(run: Run) -> Pacing:
    given = run.config.upgrade
    return Pacing(given.weights, given.window_seconds, given.soak_seconds, given.most_extensions)


def _comparison(run: Run) -> Comparison:
    given = run.config.upgrade.comparison
    return Comparison(
        pair_seconds=given.pair_seconds,
        requests=given.requests,
        pairs=given.pairs,
        cases=given.least_cases,
        margin=given.margin,
        limits_seconds=given.limits.model_dump(),
        hang_seconds=given.hang_seconds,
    )
