"""What has to be done to bring units to the wanted state. Pure; restarts follow from state, never from "changed in
this run".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Unit:
    """A unit that is wanted running.

    ``started``: the SHA-256 of the unit file that its process must have been started with; None: any. ``served``: the
    config hash it must answer; None: not asked. ``enable``: False for generated units (Quadlet), which are enabled by
    their [Install] section. ``restart``: whether a process started with another digest may be restarted in place (an
    engine never is). ``run``: False for what others start, a timer for example: only its file has to be read.
    ``reload_loss``, ``restart_loss``: what that costs its users, said before it happens.
    """

    name: str
    started: str | None = None
    served: str | None = None
    enable: bool = True
    restart: bool = True
    run: bool = True
    reload_loss: str = ""
    restart_loss: str = ""


@dataclass
class Work:
    """What to do, in this order: daemon-reload, enable, restart, start, reload; one sentence for each, and what is lost
    by it.
    """

    daemon_reload: bool = False
    enable: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    reload: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


def compare(wanted: Sequence[Unit], seen: Mapping[str, Mapping[str, Any]]) -> Work:
    work = Work()
    stale = [unit.name for unit in wanted if seen[unit.name]["reload_due"] or seen[unit.name]["load"] == "not-found"]
    if stale:
        work.daemon_reload = True
        work.sentences.append(f"made systemd read {', '.join(stale)} again")
    for unit in wanted:
        _compare_one(work, unit, seen[unit.name])
    return work


def _compare_one(work: Work, unit: Unit, seen: Mapping[str, Any]) -> None:
    if unit.enable and seen["enabled"] not in ("enabled", "static", "alias", "generated"):
        work.enable.append(unit.name)
        work.sentences.append(f"enabled {unit.name}")
    running = seen["active"] in ("active", "activating", "reloading")
    if not running:
        # A unit whose condition failed (time sync in a container) is where it should be.
        if seen["condition_failed"] or not unit.run:
            return
        work.start.append(unit.name)
        why = f" (it had failed: {seen['result']})" if seen["active"] == "failed" else ""
        work.sentences.append(f"started {unit.name}{why}")
    elif unit.started is not None and seen["started"] != unit.started:
        if unit.restart:
            work.restart.append(unit.name)
            work.sentences.append(f"restarted {unit.name}: it ran with another configuration")
            work.losses += [unit.restart_loss] if unit.restart_loss else []
        else:
            work.kept.append(f"{unit.name} runs with an older definition and is left alone: upgrade is due")
    elif unit.served is not None and (seen["served"] or "").split() != _served(unit.served, seen["revision"]):
        work.reload.append(unit.name)
        work.sentences.append(f"reloaded {unit.name}")
        work.losses += [unit.reload_loss] if unit.reload_loss else []


def _served(config: str, revision: str | None) -> list[str]:
    """What /config answers: the configuration's hash and, where secrets are loaded with it, their revision."""
    return [config] if revision is None else [config, revision]
