"""What a rollout does next: from how it stands, what the judge says and what broke, to how it stands then. Pure.

Seconds are of the boot-time clock and are counted by whoever watches; they stand still while the host is off. A rollout
moves on only when its layout is reached (``Facts.arrived``), and only on a verdict: missing data holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from tandem.domain.judge import FAIL, INCONCLUSIVE, PASS
from tandem.domain.layout import Swap, wanted
from tandem.domain.refused import Refused

Phase: TypeAlias = Literal[
    "staging", "comparing", "shifting", "soaking", "finishing", "rolling_back", "finished", "undone"
]

PHASES: Final = ("staging", "comparing", "shifting", "soaking", "finishing", "rolling_back")
OVER: Final = ("finished", "undone")
ENDING: Final = ("finishing", "rolling_back")
JUDGED: Final = ("comparing", "shifting", "soaking")
BROKE: Final = "the old release broke"


@dataclass(frozen=True)
class Pacing:
    """``weights``: the new release's shares, growing to 100 %. A window that stays inconclusive is made longer
    ``most_extensions`` times by its own length; then people are asked.
    """

    weights: tuple[int, ...] = (10, 30, 50, 70, 90, 100)
    window_seconds: float = 24 * 3600
    soak_seconds: float = 72 * 3600
    most_extensions: int = 3

    def __post_init__(self) -> None:
        if list(self.weights) != sorted(set(self.weights)) or not self.weights or self.weights[0] < 1:
            raise ValueError(f"the weights {self.weights} must grow from at least 1")
        if self.weights[-1] != 100:
            raise ValueError(f"the weights {self.weights} must end with 100")


@dataclass(frozen=True)
class Comparison:
    """What a window takes to be decided; see ``judge.Rules``. ``pair_seconds``: a pair of probes at most so often.
    ``hang_seconds``: an engine with work whose token counters stand still for so long is dead: longer than its longest
    prefill.
    """

    pair_seconds: float = 10.0
    requests: int = 65
    pairs: int = 50
    cases: int = 7
    margin: float = 1.2
    limits_seconds: Mapping[str, float] = field(default_factory=dict)
    hang_seconds: float = 120.0


@dataclass(frozen=True)
class Rollout:
    """``weight``: the new release's share. ``spent_seconds``: of this phase or step. ``held``: why it does not go on by
    itself. ``lean``: the slot that has all requests because the other one's engines are dead. ``step``: grows whenever
    what is measured starts anew. ``id``: names its samples and verdicts. ``who``: began it. ``why``: it is undone.
    ``peak_engines``: the most that all conversations together took, in engines full of them.
    """

    swap: Swap
    pacing: Pacing = Pacing()
    phase: Phase = "staging"
    weight: int = 0
    spent_seconds: float = 0.0
    held: str | None = None
    lean: str | None = None
    id: str = ""
    who: str = ""
    step: int = 0
    comparison: Comparison = Comparison()
    why: str = ""
    peak_engines: float = 0.0

    @property
    def share(self) -> int:
        """The new release's share as it is to be routed now."""
        return self.weight if self.lean is None else 100 * (self.lean == self.swap.new)


@dataclass(frozen=True)
class Facts:
    """What is seen at one moment. ``faults``: what broke, by slot; ``seconds`` since the last look, of which the layout
    was reached all along; ``engines``: what all conversations take now, in engines full of them.
    """

    arrived: bool
    seconds: float = 0.0
    outcome: str = INCONCLUSIVE
    reasons: tuple[str, ...] = ()
    old_fault: str = ""
    new_fault: str = ""
    engines: float = 0.0


def advance(rollout: Rollout, facts: Facts) -> tuple[Rollout, str]:
    """How it stands after these facts, and a sentence if that is another phase, step, hold or lean ("" if not)."""
    if rollout.phase in OVER:
        return rollout, ""
    rollout = replace(rollout, peak_engines=max(rollout.peak_engines, facts.engines))
    if rollout.phase not in ("rolling_back", "finishing"):
        if facts.new_fault and not facts.old_fault:
            return _back(rollout, facts.new_fault)
        if facts.old_fault:
            return _lean(rollout, facts)
        if rollout.lean is not None:
            back = replace(rollout, lean=None)
            return back, f"{rollout.swap.old} answers again and has its share; still held: {rollout.held}"
    if rollout.phase in JUDGED and facts.outcome == FAIL:
        return _back(rollout, _said(facts))
    if not facts.arrived:
        return rollout, ""
    if rollout.phase in ("rolling_back", "finishing"):
        over: Phase = "undone" if rollout.phase == "rolling_back" else "finished"
        return _to(rollout, over, 0 if over == "undone" else 100), f"the rollout is {over}"
    if rollout.held:
        return rollout, ""
    if rollout.phase == "staging" and rollout.swap.strategy == "recreate":
        # Nothing is served, and nothing is there to be compared with: it has completed a request, and is watched now.
        return _to(rollout, "shifting", 100), "it answers: all requests go to the new release"
    if rollout.phase == "staging":
        return _to(rollout, "comparing", 0), "staged: comparing it with the old release, unexposed"
    return _judged(replace(rollout, spent_seconds=rollout.spent_seconds + facts.seconds), facts)


def _judged(rollout: Rollout, facts: Facts) -> tuple[Rollout, str]:
    """Nothing broke, nothing failed, nobody holds it: on, or wait, or ask."""
    pacing, spent = rollout.pacing, rollout.spent_seconds
    # A comparison before exposure has no window of its own: it is over when the judge has seen enough.
    window = {"comparing": 0.0, "soaking": pacing.soak_seconds}.get(rollout.phase, pacing.window_seconds)
    if facts.outcome == PASS and spent >= window:
        return _onward(rollout)
    if facts.outcome == INCONCLUSIVE and spent >= window + pacing.most_extensions * pacing.window_seconds:
        why = f"no verdict after {spent:.0f} s: {_said(facts)}"
        return replace(rollout, held=why), f"held: {why}"
    return rollout, ""


def _onward(rollout: Rollout) -> tuple[Rollout, str]:
    if rollout.phase == "soaking":
        return _to(rollout, "finishing", 100), "soaked: the old release is freed"
    more = [weight for weight in rollout.pacing.weights if weight > rollout.weight]
    if more and (why := _too_much(rollout, more[0])):
        return replace(rollout, held=why), f"held: {why}"
    if more:
        return _to(rollout, "shifting", more[0]), f"{more[0]} % of the requests to the new release"
    return _to(rollout, "soaking", 100), "all requests go to the new release: soaking"


def _too_much(rollout: Rollout, weight: int) -> str:
    """Why the engines of the new release can't carry this share; "" when they can.

    With take-turns it has a part of the cards only, and what was measured may be more than that part remembers.
    """
    engines = len({one for one in wanted(rollout.swap, "shifting", weight).running if one.slot == rollout.swap.new})
    share = rollout.peak_engines * weight / 100
    if share <= engines:
        return ""
    return (
        f"{weight} % of the conversations at their peak fill {share:.1f} engines, and the new release has {engines}. "
        "Resume it when fewer people are there, or move it by hand"
    )


def _lean(rollout: Rollout, facts: Facts) -> tuple[Rollout, str]:
    """The old release's engines are dead: whichever side answers has all, and people are asked."""
    lean = rollout.swap.new if not facts.new_fault and rollout.phase not in ("staging", "comparing") else None
    if lean == rollout.lean and (rollout.held or "").startswith(BROKE):
        return rollout, ""  # a fault counts seconds: said once
    if lean is None:
        why = f"{BROKE}: {facts.old_fault}"
        why += f"; and the new one: {facts.new_fault}" if facts.new_fault else "; the new one was not compared yet"
    else:
        why = f"{BROKE} ({facts.old_fault}); the new one has all requests meanwhile"
    changed = replace(rollout, held=why, lean=lean)
    return changed, "" if changed == rollout else f"held: {why}"


def _back(rollout: Rollout, why: str) -> tuple[Rollout, str]:
    return replace(_to(rollout, "rolling_back", 0), why=why), f"rolling back: {why}"


def _to(rollout: Rollout, phase: Phase, weight: int) -> Rollout:
    changed = replace(rollout, phase=phase, weight=weight, spent_seconds=0.0, held=None, lean=None)
    return replace(changed, step=rollout.step + 1)


def _said(facts: Facts) -> str:
    return "; ".join(facts.reasons) or "the judge gave no reason"


def undo(rollout: Rollout, why: str = "") -> Rollout:
    """Back to the old release, from wherever it is. Raises Refused once it is over."""
    if rollout.phase in OVER:
        raise Refused(f"the rollout is {rollout.phase}. Nothing was changed. To go back, upgrade to the other release.")
    if rollout.phase == "rolling_back":
        return rollout
    return replace(_to(rollout, "rolling_back", 0), why=why)


def hold(rollout: Rollout, why: str) -> Rollout:
    """It stays as it is until somebody resumes it; a fault or a failed verdict still undoes it."""
    _under_way(rollout)
    return replace(rollout, held=why)


def resume(rollout: Rollout) -> Rollout:
    """Goes on by itself, with a window of full length; as it was if nobody holds it. Raises Refused while the old
    release's engines are dead.
    """
    _under_way(rollout)
    if rollout.held is None:
        return rollout
    if rollout.lean is not None:
        raise Refused(f"{rollout.held}. Nothing was changed. Mend the old release, or undo the rollout.")
    return replace(rollout, held=None, spent_seconds=0.0, step=rollout.step + 1, peak_engines=0.0)


def move_to(rollout: Rollout, weight: int) -> Rollout:
    """The new release's share by hand; it goes on from there. Raises Refused before it was compared."""
    _under_way(rollout)
    if rollout.phase in ("staging", "comparing"):
        raise Refused("the new release was not compared yet. Nothing was changed. Wait for that, or undo the rollout.")
    if not 1 <= weight <= 100:
        raise Refused(f"{weight} is not a share between 1 and 100 %. Nothing was changed. 0 is: undo the rollout.")
    if rollout.swap.strategy == "recreate" and weight != 100:
        raise Refused(
            "only one release at a time runs on these cards (recreate), and the new one has all requests. Nothing was "
            "changed. To take them away, undo the rollout."
        )
    return _to(rollout, "shifting", weight)


def finish_now(rollout: Rollout) -> Rollout:
    """The old release is freed without the rest of the soak. Raises Refused before all requests go to the new one."""
    _under_way(rollout)
    if rollout.phase != "soaking":
        raise Refused("not all requests go to the new release yet. Nothing was changed. Move it to 100 % first.")
    return _to(rollout, "finishing", 100)


def _under_way(rollout: Rollout) -> None:
    if rollout.phase in (*OVER, "finishing", "rolling_back"):
        raise Refused(f"the rollout is {rollout.phase.replace('_', ' ')}: it can't be steered. Nothing was changed.")
