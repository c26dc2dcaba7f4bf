"""tandem-prober: puts the comparison's cases to the old and the new release in turn while a rollout needs it.

It writes down how they answered, never what: no text of a prompt or of an answer leaves this process.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tandem.domain.advance import JUDGED, Rollout
from tandem.domain.case_turns import Turns
from tandem.domain.cases import Case, from_document
from tandem.domain.layout import Engine, wanted
from tandem.domain.refused import Refused
from tandem.domain.rollout import State
from tandem.domain.slots import engine_port
from tandem.hostside import samples, state
from tandem.hostside.ask_case import LONGEST_ANSWER_SECONDS
from tandem.hostside.compared_engines import Engines
from tandem.hostside.paths import Paths

KEY: Final = "upstream_key"
CASES: Final = "cases"
"""Files that systemd hands over, from places that only root can read."""
SOURCE: Final = "/etc/tandem/cases.json"
"""Where the cases come from."""
IDLE_SECONDS: Final = 1.0
ON_THE_HOST: Final = Paths()


@dataclass(frozen=True)
class Place:
    """What a pair belongs to: whatever changes here meanwhile, its answers are of no use."""

    id: str
    step: int
    phase: str

    @classmethod
    def of(cls, rollout: Rollout) -> "Place":
        return cls(rollout.id, rollout.step, rollout.phase)


@dataclass
class _Step:
    """``left_out``: cases that are too long for an engine."""

    place: Place
    file: Path
    turns: Turns
    random: random.Random
    left_out: set[str]


def main(paths: Paths = ON_THE_HOST) -> int:
    """0: the rollout is over; 1: it can't go on, with a sentence on stderr."""
    try:
        given = Path(os.environ["CREDENTIALS_DIRECTORY"])
        key, cases = (given / KEY).read_text(encoding="ascii").strip(), read_cases(given / CASES)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        print(f"{_unreadable(error)}. Nothing was asked. Run install again: it writes what is needed.", file=sys.stderr)
        return 1
    try:
        Prober(paths, cases, key).run()
    except OSError as error:
        print(f"{error}. The samples so far are whole. It goes on when it is started again.", file=sys.stderr)
        return 1
    return 0


def read_cases(path: Path) -> tuple[Case, ...]:
    """Raises OSError, and ValueError, KeyError, TypeError or AttributeError for what are no cases."""
    found = from_document(path.read_text(encoding="utf-8"))
    if not found:
        raise ValueError("there is no case")
    return found


def _unreadable(error: Exception) -> str:
    """Says no word of what is in the file: prompts are nobody else's business."""
    if isinstance(error, OSError):
        return f"{error.filename} can't be read ({error.strerror})"
    if isinstance(error, KeyError) and error.args == ("CREDENTIALS_DIRECTORY",):
        return "there is no CREDENTIALS_DIRECTORY: this program is run by tandem-prober.service"
    if isinstance(error, json.JSONDecodeError) or not isinstance(error, ValueError):
        return f"{SOURCE} is damaged ({type(error).__name__})"
    return f"{SOURCE}: {error}"


class Prober:
    """``port``: where an engine listens. Tests give other ports and less patience."""

    def __init__(
        self,
        paths: Paths,
        cases: Sequence[Case],
        key: str,
        port: Callable[[str, int], int] = engine_port,
        longest_answer_seconds: float = LONGEST_ANSWER_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._paths, self._cases, self._idle_seconds = paths, cases, idle_seconds
        self._engines = Engines(key, port, longest_answer_seconds)
        self._step: _Step | None = None
        self._due = 0.0
        self._said = ""

    def run(self) -> None:
        """Until the record says that there is no rollout, or another one, whose cases are given to another process.

        Raises OSError when a sample can't be written.
        """
        id: str | None = None
        while (now := self._state()) is None or (now.rollout is not None and id in (None, now.rollout.id)):
            pause = self._idle_seconds
            if now is not None and now.rollout is not None:
                id, pause = now.rollout.id, self._turn(now, now.rollout)
            time.sleep(min(max(pause, 0.0), self._idle_seconds))
        self._say("there is no rollout: done" if now.rollout is None else "there is another rollout: done")

    def _state(self) -> State | None:
        """None while the record is missing or can't be read."""
        try:
            return state.load(self._paths.state) if self._paths.state.exists() else None
        except (OSError, Refused) as error:
            self._say(str(error))
            return None

    def _turn(self, now: State, rollout: Rollout) -> float:
        """At most one pair; the seconds until it makes sense to look again."""
        if rollout.phase not in JUDGED:
            return self._idle_seconds
        step = self._step
        if step is None or step.place != Place.of(rollout):
            self._step = step = self._begin(rollout)
        left = self._due - time.monotonic()
        if left > 0:
            return left
        record = self._pair(step, now, rollout)
        if record is None:
            return self._idle_seconds
        after = self._state()
        if after is not None and after.rollout is not None and Place.of(after.rollout) == step.place:
            samples.append(step.file, record)
            step.turns.count(record)
        return self._due - time.monotonic()

    def _begin(self, rollout: Rollout) -> _Step:
        """Goes on where another process of this step was cut short."""
        place = Place.of(rollout)
        file, seed = self._paths.prober / f"{place.id}.jsonl", f"{place.id} {place.step}"
        turns, reader = Turns(self._cases, seed), samples.Reader(file)
        for pair in reader.step(place.step):
            turns.count(pair)
        self._say(
            f"step {place.step} ({place.phase}): {len(self._cases)} cases for {rollout.swap.old} and "
            f"{rollout.swap.new}, a pair every {rollout.comparison.pair_seconds:g} s"
        )
        # Not a secret: which side goes first.
        return _Step(place, file, turns, random.Random(seed), set(reader.skipped(place.step)))  # noqa: S311

    def _pair(self, step: _Step, now: State, rollout: Rollout) -> dict[str, Any] | None:
        """One case put to both sides, as the file gets it; None while a side has no engine to ask."""
        old, new = rollout.swap.old, rollout.swap.new
        running = wanted(rollout.swap, rollout.phase, rollout.weight).running
        chosen = {slot: self._engines.choose(slot, running) for slot in sorted({one.slot for one in running})}
        engines = {slot: engine for slot, engine in chosen.items() if engine is not None}
        if len(engines) < len(chosen) or new not in engines:
            return None
        case = step.turns.next(self._too_long(step, engines.values()))
        if case is None:
            return None
        self._due = time.monotonic() + rollout.comparison.pair_seconds
        found = {
            slot: self._engines.ask(engines[slot], case, now.slots[slot].model)
            for slot in step.random.sample(sorted(engines), len(engines))
        }
        return {
            "step": rollout.step,
            "boot_seconds": round(time.clock_gettime(time.CLOCK_BOOTTIME), 3),
            "case": case.name,
            "critical": case.critical,
            # Status, format and model name of every answer can be wrong, whatever else the case expects.
            "graded": True,
            "busy": [found[slot][0] if slot in found else None for slot in (old, new)],
            "old": asdict(found[old][1]) if old in found else None,
            "new": asdict(found[new][1]),
        }

    def _too_long(self, step: _Step, engines: Iterable[Engine]) -> set[str]:
        """The cases that the smallest context of these can't hold; the file gets their names once in a step."""
        known = [window for engine in engines if (window := self._engines.context(engine)) is not None]
        found = {case.name for case in self._cases if known and case.context_tokens > min(known)}
        if found - step.left_out:
            step.left_out |= found
            samples.append(step.file, {"step": step.place.step, "skipped": sorted(step.left_out)})
        return found

    def _say(self, sentence: str) -> None:
        """Each sentence once in a row."""
        if sentence != self._said:
            self._said = sentence
            print(sentence, file=sys.stderr, flush=True)
