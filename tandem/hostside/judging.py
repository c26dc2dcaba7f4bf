"""Brings samples, users' requests and the judge together, and keeps its verdicts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tandem.domain.advance import JUDGED, Rollout
from tandem.domain.judge import Verdict, judge
from tandem.domain.layout import wanted as layout_wanted
from tandem.domain.paired import Traffic
from tandem.domain.rollout import State
from tandem.domain.soak import judge_alone
from tandem.domain.window import alone, rules, window
from tandem.hostside.files import append_line
from tandem.hostside.paths import Paths
from tandem.hostside.router_log import RouterLog
from tandem.hostside.samples import Reader
from tandem.hostside.sight import boot_seconds

READ_LOG_SECONDS: Final = 2.0
SETTLED_SECONDS: Final = 3.0
"""Longer than a router leaves an engine alone that it could not reach."""
MOST_PAIRS: Final = 10_000
"""The latest ones: each takes 0.2 ms to be judged, and meanwhile nobody watches."""
SMALL: Final = 500
GROWTH: Final = 1.02


class Judging:
    """Judges the step that is under way, anew whenever there is something new to judge."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.log = RouterLog()
        self.measured: set[str] = set()
        self.last: Verdict | None = None
        self.pairs = 0
        self._reader: Reader | None = None
        self._step: tuple[str, int] | None = None
        self._began = boot_seconds()
        self._judged = self._failures = 0
        self._read_at = 0.0
        self._unsettled: float | None = boot_seconds()

    def verdict(self, state: State, arrived: bool = True) -> Verdict | None:
        """``arrived``: the engines that the step wants are ready. Until they first are, and right after, what users
        meet is not counted: the host may have booted, and then nothing answers, whichever release it is asked of. From
        then on every request counts.
        """
        rollout = state.rollout
        if rollout is None:
            return None
        if (rollout.id, rollout.step) != self._step:
            self._begin(rollout)
        if not self._settled(arrived):
            self.log.skip()
        elif boot_seconds() - self._read_at >= READ_LOG_SECONDS:
            self._read_at = boot_seconds()
            self.log.read()
        samples = self._reader.step(rollout.step) if self._reader else []
        old, new = (self.log.of(slot).traffic for slot in (rollout.swap.old, rollout.swap.new))
        self.pairs = len(samples)
        if self.last and not self._due(samples, old.failures + new.failures):
            return self.last
        self._judged, self._failures = len(samples), old.failures + new.failures
        wanted = rules(rollout.comparison)
        running = [one.slot for one in layout_wanted(rollout.swap, rollout.phase, rollout.weight).running]
        old_engines, new_engines = running.count(rollout.swap.old), running.count(rollout.swap.new)
        samples = samples[-MOST_PAIRS:]
        seen = window(samples, old, new, rollout.weight if old_engines == new_engines else 0)
        if not old_engines and not seen.pairs and samples:
            probes = alone(samples)
            both = Traffic(new.requests + probes.requests, new.failures + probes.failures)
            self.last = judge_alone(both, wanted)
        else:
            self.last = judge(seen, wanted)
        return self.last

    def _settled(self, arrived: bool) -> bool:
        if self._unsettled is not None:
            self._unsettled = self._unsettled if arrived else boot_seconds()
            if boot_seconds() - self._unsettled >= SETTLED_SECONDS:
                self._unsettled = None
        return self._unsettled is None

    def _due(self, samples: Sequence[Mapping[str, Any]], failures: int) -> bool:
        """A long window takes a second to be judged: anew when it has grown a little, or when something failed."""
        fresh = samples[self._judged :]
        if not fresh and failures == self._failures:
            return False
        small, grown = len(samples) <= SMALL, len(samples) >= self._judged * GROWTH
        return small or grown or failures != self._failures or any(_wrong(sample) for sample in fresh)

    def _begin(self, rollout: Rollout) -> None:
        if self._step is None or self._step[0] != rollout.id:
            self._reader = Reader(self.paths.prober / f"{rollout.id}.jsonl")
        self._step, self._judged, self._failures, self.last = (rollout.id, rollout.step), 0, 0, None
        self._began = boot_seconds()
        self.log.begin()

    def keep(self, rollout: Rollout, outcome: str, reasons: tuple[str, ...], now: float) -> None:
        """Writes down how a step ended, for the report."""
        judged = self.last if self._step == (rollout.id, rollout.step) else None
        unjudged = {"outcome": outcome, "reasons": reasons, "results": []}
        verdict = asdict(judged) if judged else unjudged
        entry: dict[str, Any] = {
            "step": rollout.step,
            "phase": rollout.phase,
            "weight": rollout.weight,
            "began_boot_seconds": round(self._began, 3),
            "seconds": round(now - self._began, 1),
            "verdict": verdict if rollout.phase in JUDGED else None,
            "traffic": self.traffic((rollout.swap.old, rollout.swap.new)),
        }
        folder = self.folder(rollout.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        append_line(folder / "verdicts.jsonl", json.dumps(entry))
        self._began = now

    def folder(self, id: str) -> Path:
        return self.paths.rollouts / id

    def traffic(self, slots: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Users' requests of this step by slot."""
        counted = {slot: self.log.of(slot) for slot in sorted(slots)}
        return {
            slot: {"requests": one.requests, "failures": one.failures, "typical_seconds": one.typical_seconds}
            for slot, one in counted.items()
        }


def _wrong(sample: Mapping[str, Any]) -> bool:
    """A pair in which an answer was wrong or did not come."""
    sides = (sample.get("old"), sample.get("new"))
    return any(isinstance(side, Mapping) and bool(side.get("error") or side.get("failed")) for side in sides)
