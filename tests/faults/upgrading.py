"""A rehearsal host of engines with knobs: installed with a good release, upgraded to others by the real deploys."""

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.programs.knobs.settings import Knobs, variables
from tests.bench.door import Door
from tests.bench.load import Load, Mix
from tests.bench.questions import counting
from tests.faults.bad_releases import cases, write
from tests.faults.deploying import Ended, Workplace
from tests.faults.drifting import layers
from tests.faults.onhost import OnHost

GOOD: Final = "k"
UPGRADE, ROLLBACK = "deploys/upgrade.py", "deploys/rollback.py"
FIRST_SECONDS, GAP_SECONDS = 0.02, 0.004
"""The pace of engines on a host: slow enough that two small cores add little to it."""
PACING: Final = {"weights": [10, 50, 100], "window_seconds": 10, "soak_seconds": 10, "most_extensions": 80}
AT_ONCE: Final = {"weights": [100], "window_seconds": 1, "soak_seconds": 1, "most_extensions": 60}
LIMITS: Final = {"first_token_seconds": 0.3, "total_seconds": 5.0, "token_gap_seconds": 0.1}
OVER_SECONDS: Final = 1000
LOOK_SECONDS: Final = 90
CLIENT: Final = {"requests_per_second": 1000, "burst": 1000, "streams": 100}
TOKENS: Final = 40


@dataclass(frozen=True)
class Course:
    """How a rollout went. ``places``: (boot seconds, phase or outcome, exposed share, why it was held)."""

    state: dict[str, Any]
    places: tuple[tuple[float, str, int, str], ...]

    @property
    def outcome(self) -> str:
        """``finished`` or ``undone``; the phase, with a hold's reason, when it is not over."""
        if self.state["rollout"]:
            return f"{self.state['state']}, held: {self.state['held']}" if self.state["held"] else self.state["state"]
        return str((self.state["past"] or {}).get("outcome", "none"))

    @property
    def why(self) -> str:
        return str((self.state["past"] or {}).get("why", ""))

    @property
    def most_percent(self) -> int:
        """The greatest share of users' requests that the new release ever had."""
        return max((exposed for _, _, exposed, _ in self.places), default=0)

    @property
    def found_in(self) -> str:
        """The phase in which it was decided to roll back."""
        phases = [phase for _, phase, _, _ in self.places]
        place = phases.index("rolling_back") if "rolling_back" in phases else len(phases)
        return phases[place - 1] if place else ""

    def seconds(self, since: str) -> float | None:
        """From the first moment of a phase until it was decided to roll back."""
        moments = {phase: moment for moment, phase, _, _ in reversed(self.places)}
        if since not in moments or "rolling_back" not in moments:
            return None
        return moments["rolling_back"] - moments[since]


@dataclass(frozen=True)
class Knobbed:
    """The host, and where pyinfra runs for it."""

    name: str
    workplace: Workplace
    cards: tuple[int, ...] = (0, 1)

    def inventory(self, wanted: str, knobs: Knobs, pacing: Mapping[str, Any]) -> str:
        """The inventory that declares the good release and ``wanted`` (which may be the good one)."""
        file = self.workplace.folder / "cases.jsonl"
        if not file.exists():
            write(cases(), file)
        data = layers(self.name)
        declared = {GOOD: _release(data, Knobs()), wanted: _release(data, knobs)}
        comparison = {"cases": [str(file)], "pair_seconds": 0.02, "limits": LIMITS, "hang_seconds": 5.0}
        return self.workplace.inventory(
            self.name,
            {
                "release": wanted,
                "releases": declared,
                "engine": {"cards": list(self.cards), "ready_timeout_seconds": 40, "shutdown_timeout_seconds": 10},
                "edge": {**data["edge"], "clients": {"default": CLIENT}},
                "upgrade": {**pacing, "comparison": comparison},
            },
        )

    def install(self) -> Ended:
        return self.workplace.run(self.inventory(GOOD, Knobs(), PACING), "deploys/install.py")

    def upgrade(self, wanted: str, knobs: Knobs, pacing: Mapping[str, Any] = PACING) -> tuple[Ended, Course]:
        """Until it is over or held."""
        ended = self.workplace.run(self.inventory(wanted, knobs, pacing), UPGRADE)
        return ended, self.course() if ended.status == 0 else self.course(0)

    def course(self, limit_seconds: float = OVER_SECONDS) -> Course:
        """Of the rollout under way, once it is over or held, or of the last one."""
        until = time.monotonic() + limit_seconds
        while True:
            found = OnHost(self.name).program("rollout", max(0, min(LOOK_SECONDS, until - time.monotonic())))
            state = found["state"]
            if not state["rollout"] or state["held"] or time.monotonic() >= until:
                return Course(state, tuple(_place(one) for one in found["course"]))

    def undo(self, wanted: str, knobs: Knobs) -> None:
        """What is left of a rollout goes."""
        self.workplace.run(self.inventory(wanted, knobs, PACING), ROLLBACK)
        self.course(120)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(OnHost(self.name).shell("cat /var/lib/tandem/state.json"))
        return found

    def load(self) -> Load:
        """Users that ask what is in no case."""
        mix = Mix(official_new=0, official_kept=3, raw_back_to_back=0, raw_thinking=0, http2_streams=3, websockets=0,
                  pause_seconds=0.02, most_seconds=900.0)  # fmt: skip
        return Load(self.door(), counting(TOKENS), mix)

    def door(self) -> Door:
        """How users get in: it is another one after a boot."""
        there = OnHost(self.name)
        logins = json.loads(there.shell("tandemctl credentials --json"))
        ca_file = self.workplace.folder / "ca.crt"
        ca_file.write_text(there.shell(f"cat {shlex.quote(logins['ca_file'])}"))
        return Door(host.load(STATE, self.name).address, 443, logins["keys"]["default"], "gpt-oss-20b", str(ca_file))


def _place(record: Mapping[str, Any]) -> tuple[float, str, int, str]:
    phase, _, held = record["place"]
    return record["boot_seconds"], phase, record["exposed"], held


def _release(data: Mapping[str, Any], knobs: Knobs) -> dict[str, Any]:
    images = json.loads((STATE / "images.json").read_text())
    return {
        "image": images["knobs"],
        "model": data["releases"]["a"]["model"],
        "arguments": {"max-model-len": 16384},
        "environment": variables(replace(knobs, first_seconds=FIRST_SECONDS, gap_seconds=GAP_SECONDS)),
    }
