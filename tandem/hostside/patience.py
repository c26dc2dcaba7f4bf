"""How long the guard waits for a rollout to end before people are told that it does not."""

import math
from dataclasses import dataclass, field
from typing import Final

from tandem.domain.advance import ENDING
from tandem.domain.guarding import Sight, left, waits_for
from tandem.domain.layout import Move, Stop
from tandem.domain.rollout import State
from tandem.domain.weights import duration

MORE_SECONDS: Final = 300.0
"""Beyond what a start, or the last answers of an engine that is to stop, may take."""


@dataclass
class Patience:
    """Nothing of it is needed after a restart: then the time begins anew.

    Only what was never reached before is progress: an engine that starts and fails again and again makes none.
    """

    ready_seconds: float
    drain_seconds: float
    seconds: float = field(default=0.0, init=False)
    _least: float = field(default=math.inf, init=False)
    _of: tuple[str, str] | None = field(default=None, init=False)

    def lost(self, state: State, sight: Sight, step: Move | None, seconds: float) -> str:
        """Why the rollout's end is not awaited any longer; "" while it is. ``seconds``: watched since the last look."""
        rollout = state.rollout
        if rollout is None or rollout.phase not in ENDING:
            self._of = None
            return ""
        if self._of != (rollout.id, rollout.phase):
            self._of, self._least, self.seconds = (rollout.id, rollout.phase), math.inf, 0.0
        now = left(state, sight)
        if now < self._least:
            self._least, self.seconds = now, 0.0
        else:
            self.seconds += seconds
        limit = MORE_SECONDS + (self.drain_seconds if isinstance(step, Stop) else self.ready_seconds)
        if step is None or self.seconds < limit:
            return ""
        return f"no progress for {duration(self.seconds)}: {waits_for(state, sight)}"
