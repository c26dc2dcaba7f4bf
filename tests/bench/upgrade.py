"""python -m tests.bench.upgrade [PART...]: upgrades, rollbacks and shifts under users' load, and the real share.

``share`` runs on this machine alone; the other parts need a rehearsal host with two releases of the same model:
``upgrades`` to the end, ``rollbacks`` on the way, ``shifts`` by hand, ``faults`` (kill -9 of a new engine).
``--paced`` takes a host of its own with engines at a fixed pace in place of the one with real ones.
Prints figures beside the goals. Exit status 1: a request failed, or a goal was missed.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.bench import paced
from tests.bench.load import Load, Mix
from tests.bench.questions import rehearsal
from tests.bench.record import MOVING, QUIET, UNHURT, Record
from tests.bench.report import Report
from tests.bench.share import realised
from tests.bench.steering import Flip, Steering, Stuck
from tests.bench.streams import quantile
from tests.bench.timeline import Broken, phases

FLIP_GOAL_SECONDS, FAULT_GOAL_SECONDS, GAP_GOAL_SECONDS = 1.0, 10.0, 0.25
QUIET_SECONDS: Final = 20.0
"""Of load before the first rollout: what everything else is measured against."""
FEELS_SECONDS: Final = 30.0
"""For so long a killed engine may be felt by those that it was answering."""
BY_HAND: Final = {"window_seconds": 3600, "soak_seconds": 3600}
"""Nothing moves by itself within a benchmark."""


@dataclass
class Seen:
    """What the parts found. ``trouble``: what did not go as it was to."""

    flips: list[Flip] = field(default_factory=list)
    faults: list[Flip] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    finished: int = 0
    undone: int = 0
    shifted: int = 0
    trouble: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rollouts:
    """Rollouts between two releases, whichever of them serves."""

    host: Steering
    releases: Sequence[str]
    seen: Seen
    chance: random.Random

    def upgrades(self, times: int) -> None:
        """To the end, moved by the guard alone."""
        for _ in range(times):
            new = self._other()
            self.host.begin(new)
            state = self.host.until(f"upgrade to {new}", lambda state: state["state"] == "idle" or bool(state["held"]))
            if state["held"] or self._serving(state) != new:
                why = state["held"] or (state["past"] or {}).get("why")
                self.seen.trouble.append(f"upgrade to {new}: {why}")
                self._home()
            else:
                self.seen.finished += 1

    def rollbacks(self, times: int) -> None:
        """From a share that chance chooses, once traffic went that far."""
        for _ in range(times):
            weight = self.chance.choice((10, 50, 90, 100))
            state = self._exposed(weight)
            if state is None:
                continue
            old = state["rollout"]["swap"]["old"]
            flip = self.host.flip(["tandemctl", "rollback", "--why", "benchmark"], old, 100)
            self.seen.flips.append(flip)
            state = self.host.until("rollback", lambda state: state["state"] == "idle")
            self.seen.undone += state["serving"] == old
            if state["serving"] != old or flip.seconds is None:
                self.seen.trouble.append(f"rollback from {weight} %: {flip.said}")

    def shifts(self, times: int) -> None:
        """Back and forth by hand within one rollout."""
        state = self._exposed(10) if times else None
        if state is None:
            return
        new, weight = state["rollout"]["swap"]["new"], 10
        for _ in range(times):
            weight = self.chance.choice([share for share in range(5, 96, 5) if share != weight])
            flip = self.host.flip(["tandemctl", "upgrade", "move", "--weight", str(weight)], new, weight)
            self.seen.flips.append(flip)
            self.seen.shifted += flip.seconds is not None
            if flip.seconds is None:
                self.seen.trouble.append(f"move to {weight} %: {flip.said}")
            time.sleep(self.chance.uniform(1, 4))
        self._home()

    def faults(self, times: int) -> None:
        """The new release's engine dies while it answers half of the requests."""
        for _ in range(times):
            state = self._exposed(50)
            if state is None:
                continue
            swap = state["rollout"]["swap"]
            cards = self.host.cards(swap["new"])
            flip = self.host.kill(swap["new"], cards[0], swap["old"])
            self.seen.faults.append(flip)
            self.seen.broken.append(Broken(flip.at, flip.at + FEELS_SECONDS))
            state = self.host.until("hard fault", lambda state: state["state"] == "idle")
            if state["serving"] != swap["old"] or flip.seconds is None:
                self.seen.trouble.append(f"hard fault: {flip.said or 'the old release does not have all'}")

    def _exposed(self, weight: int) -> dict[str, Any] | None:
        """A rollout that waits at this share; None, with the trouble noted, when it did not get there."""
        new = self._other()
        self.host.begin(new, weights=sorted({weight, 100}), **BY_HAND)
        state = self.host.until(
            f"{weight} % of {new}",
            lambda state: (
                state["state"] == "idle"
                or bool(state["held"])
                or (
                    state["state"] == "shifting" and state["slots"][state["rollout"]["swap"]["new"]]["weight"] == weight
                )
            ),
        )
        if state["state"] == "shifting" and not state["held"]:
            return state
        why = state["held"] or (state["past"] or {}).get("why")
        self.seen.trouble.append(f"{new} did not get to {weight} %: {why}")
        self._home()
        return None

    def _home(self) -> None:
        """Without a rollout."""
        if self.host.state()["state"] != "idle":
            self.host.there.shell("tandemctl rollback --why benchmark", check=False)
            self.host.until("rollback", lambda state: state["state"] == "idle")

    def _other(self) -> str:
        serving = self._serving(self.host.state())
        return next(release for release in self.releases if release != serving)

    def _serving(self, state: dict[str, Any]) -> str:
        return str(state["slots"][state["serving"]]["release"])


def on_host(given: argparse.Namespace, parts: Sequence[str], report: Report) -> None:
    seen, record = Seen(), Record([], [], "not started")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-bench-")))
        if given.paced:
            stack.enter_context(paced.booted(given.host))
        changes = paced.changes(given.host, folder) if given.paced else {}
        host = Steering(given.host, folder, json.loads(given.upgrade), changes)
        host.install()
        rollouts = Rollouts(host, given.releases, seen, random.Random(given.seed))  # noqa: S311 - repeatable
        order: dict[str, Callable[[], None]] = {
            "upgrades": lambda: rollouts.upgrades(given.upgrades),
            "rollbacks": lambda: rollouts.rollbacks(given.rollbacks),
            "shifts": lambda: rollouts.shifts(given.shifts),
            "faults": lambda: rollouts.faults(given.faults),
        }
        questions = paced.questions() if given.paced else rehearsal()
        mix = replace(paced.MIX if given.paced else Mix(), **json.loads(given.mix))
        load = Load(host.door(), questions, mix)
        with host.watched(), load:
            time.sleep(QUIET_SECONDS)
            for part in parts:
                try:
                    order[part]()
                except (Stuck, RuntimeError) as error:
                    seen.trouble.append(f"{part}: {error}")
            time.sleep(QUIET_SECONDS / 2)
        record = Record(load.record.asked, [*load.phases[:1], *phases(host.events, seen.broken)], load.record.ended)
    print(f"\n{record.table()}")
    rows(given, parts, seen, record, report)


def rows(given: argparse.Namespace, parts: Sequence[str], seen: Seen, record: Record, report: Report) -> None:
    """The table of the goals."""
    engines = "engines at a fixed pace" if given.paced else "real engines"
    report.section(f"Under load, retries off, on {given.host} with {engines} (seed {given.seed})")
    done = {"upgrades": seen.finished, "rollbacks": seen.undone, "shifts": seen.shifted, "faults": len(seen.faults)}
    for part in parts:
        report.row(part, f"{done[part]} of {getattr(given, part)}", "all")
    sums = record.of(*UNHURT)
    for what, count in (
        ("failed requests", sums.failed),
        ("cut streams", sums.cut),
        ("corrupted answers", sums.corrupted),
        ("dropped websockets", sums.dropped),
    ):
        report.row(what, f"{count} of {sums.requests}", "0")
        report.failed(what, [str(count)] if count else [])
    extra = record.extra_gap_seconds
    report.row("largest extra token gap", "not measured" if extra is None else f"{extra:.3f} s", "at most 0.25 s")
    report.failed("extra token gap", ["too long or not measured"] if extra is None or extra > GAP_GOAL_SECONDS else [])
    for sort in (QUIET, MOVING):
        if values := record.of(sort).first_tokens:
            figure = f"{quantile(values, 0.5):.3f}, {quantile(values, 0.99):.3f} s"
            report.row(f"first token while {sort}, p50 and p99", figure)
    flips = [flip.since_record for flip in seen.flips if flip.since_record is not None]
    if flips:
        p99 = quantile(flips, 0.99)
        middle = f"{quantile(flips, 0.5):.3f}, {p99:.3f} s"
        report.row(f"flips, from the decision on record, p50, p99 ({len(flips)})", middle, "p99 at most 1 s")
        orders = [flip.seconds for flip in seen.flips if flip.seconds is not None]
        report.row("the same from the command on", f"{quantile(orders, 0.5):.3f}, {quantile(orders, 0.99):.3f} s")
        report.failed("flip", [f"p99 {p99:.3f} s"] if p99 > FLIP_GOAL_SECONDS else [])
    back = [flip.seconds for flip in seen.faults if flip.seconds is not None]
    if back:
        report.row("hard fault until the old release has all, longest", f"{max(back):.2f} s", "at most 10 s")
        report.failed("hard fault", [f"{max(back):.2f} s"] if max(back) > FAULT_GOAL_SECONDS else [])
    hurt = record.of("broken")
    report.row("requests hurt by the kills", f"{hurt.wrong} of {hurt.requests}")
    report.failed("rollouts", seen.trouble)
    report.failed("load", [] if record.ended == "stopped" else [record.ended])


PARTS: Final = ("share", "upgrades", "rollbacks", "shifts", "faults")


def main() -> int:
    parser = argparse.ArgumentParser(description="What upgrades, rollbacks and shifts cost users.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of them by default: {', '.join(PARTS)}")
    parser.add_argument("--host", help="a rehearsal host (default gpu1; with --paced: bench1, made for it)")
    parser.add_argument("--paced", action="store_true", help="engines at a fixed pace, on a host of their own")
    parser.add_argument("--releases", nargs=2, default=["a", "b"])
    parser.add_argument("--upgrades", type=int, default=1, help="10 for a campaign")
    parser.add_argument("--rollbacks", type=int, default=1, help="10 for a campaign")
    parser.add_argument("--shifts", type=int, default=5, help="50 for a campaign")
    parser.add_argument("--faults", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--upgrade", default="{}", metavar="JSON", help="options of upgrade in the inventory")
    parser.add_argument("--mix", default="{}", metavar="JSON", help="fields of tests.bench.load.Mix")
    given = parser.parse_args()
    given.host = given.host or ("bench1" if given.paced else "gpu1")
    parts = given.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    report, began = Report(), time.monotonic()
    if "share" in parts:
        realised(report)
    if others := [part for part in parts if part != "share"]:
        on_host(given, others, report)
    print(f"\n{time.monotonic() - began:.0f} s in all; {len(report.failures)} failures")
    for failure in report.failures:
        print(f"  FAIL  {failure}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
