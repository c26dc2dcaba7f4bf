"""What an upgrade would do, said before it begins: whether, how, for how long, and how to go back. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tandem.domain.advance import Comparison, Pacing
from tandem.domain.capacity import RECREATE, TAKE_TURNS
from tandem.domain.layout import ConvertAt, Swap
from tandem.domain.option import RUN
from tandem.domain.rollout import Past, Slot
from tandem.domain.upgrade_choice import card_list, was_undone
from tandem.domain.upgrade_ways import Way

NEVER_MEASURED: Final = "5 to 15 min (never measured here)"
SAME: Final = "the same"
DIGEST_DIGITS: Final = 12


@dataclass(frozen=True)
class Plan:
    """All that the plan tells. ``changes``: of the engine's definition, one line each; ``start_seconds`` of the new
    release if it ran here before, None if not.
    """

    old_slot: str
    new_slot: str
    old: Slot
    new: Slot
    changes: Sequence[str]
    way: Way
    cards: tuple[int, ...]
    convert_at: ConvertAt
    pacing: Pacing
    comparison: Comparison
    past: Past | None = None

    @property
    def keeps_old_ready(self) -> bool:
        """Whether engines of the old release stay ready until the soak ends."""
        return self.way.strategy != RECREATE and (self.way.strategy != TAKE_TURNS or self.convert_at == "soak_end")

    @property
    def comparing_seconds(self) -> float:
        """The least that a comparison takes: every pair is one request to each release."""
        return max(self.comparison.requests, self.comparison.pairs) * self.comparison.pair_seconds

    @property
    def window_seconds(self) -> float:
        return max(self.pacing.window_seconds, self.comparison.pairs * self.comparison.pair_seconds)

    @property
    def gap(self) -> str:
        """How long nothing is served where one release must end before the other starts."""
        known = self.new.start_seconds if self.new.start_seconds is not None else self.old.start_seconds
        about = NEVER_MEASURED if known is None else f"about {span(known)}"
        return f"{about}, until {self.new.release} has started"

    @property
    def old_start(self) -> str:
        return _start(self.old.start_seconds)

    @property
    def new_start(self) -> str:
        """Of the new release itself where it was measured, else as long as the old one's."""
        if self.new.start_seconds is not None or self.old.start_seconds is None:
            return _start(self.new.start_seconds)
        return f"about {span(self.old.start_seconds)} (as measured of {self.old.release})"


def lines(plan: Plan) -> list[str]:
    """The whole plan, for a person."""
    return [*_sides(plan), *_capacity(plan), *_phases(plan), *_back(plan), *_commands()]


def _sides(plan: Plan) -> Iterator[str]:
    old, new = plan.old, plan.new
    rows = [
        ("", f"old: {old.release}", f"new: {new.release}"),
        ("digest", old.digest, new.digest),
        ("slot", plan.old_slot, plan.new_slot),
        ("image", _image(old.image), SAME if old.image == new.image else _image(new.image)),
        ("model files", _revision(old), SAME if old.revision == new.revision else _revision(new)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    again = ", which had another definition under the same name" if new.release == old.release else ""
    yield f"upgrade: {new.release} takes the place of {old.release}{again}"
    for label, left, right in rows:
        yield f"  {label:<{widths[0]}}  {left:<{widths[1]}}  {right}".rstrip()
    yield f"  changed in the engine{':' if plan.changes else ': nothing'}"
    yield from (f"    {line}" for line in plan.changes)
    if plan.past and was_undone(plan.past, new.digest):
        yield f"  {new.release} was undone before, at {plan.past.at}: {plan.past.why or 'no reason was recorded'}"


def _capacity(plan: Plan) -> Iterator[str]:
    yield f"way: {plan.way.strategy}: {plan.way.why}"
    if plan.way.phases:
        parts = ", then ".join(f"{phase.name} {phase.old:.2f} + {phase.new:.2f}" for phase in plan.way.phases)
        yield f"  conversations of {plan.way.longest:,} tokens at once, old + new: {parts}"


def _phases(plan: Plan) -> Iterator[str]:
    pacing = plan.pacing
    # Where there is no old release to share with or to be compared with, the first share is all requests.
    weights = pacing.weights if plan.way.strategy != RECREATE else (100,)
    windows, compared = len(weights), plan.comparing_seconds if plan.way.strategy != RECREATE else 0.0
    shares = ", ".join(str(weight) for weight in weights)
    rows = [
        ("staging", "0 %", _staging(plan)),
        *([("comparing", "0 %", f"at least {span(compared)}")] if compared else []),
        ("shifting", f"{shares} %", f"{span(plan.window_seconds)} each, {span(windows * plan.window_seconds)} in all"),
        ("soaking", "100 %", span(pacing.soak_seconds)),
        ("finishing", "100 %", _finishing(plan)),
    ]
    known = compared + windows * plan.window_seconds + pacing.soak_seconds
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    yield f"phases, with the share of {plan.new.release}; in all about {span(known)} and the starts of engines:"
    for name, share, time in rows:
        yield f"  {name:<{widths[0]}}  {share:<{widths[1]}}  {time}"
    yield f"  a window without a verdict is made longer, {pacing.most_extensions} times at most, then held for people"


def _staging(plan: Plan) -> str:
    start = f"{plan.new.release} starts: {plan.new_start}"
    if plan.way.strategy == RECREATE:
        return f"all answers end, {plan.old.release} stops, {plan.new.release} starts. NOTHING IS SERVED for {plan.gap}"
    if plan.way.strategy == TAKE_TURNS:
        return f"the answers on card {card_list(_swap(plan).first)} end, its engine stops; {start}"
    return start


def _finishing(plan: Plan) -> str:
    if plan.way.strategy == TAKE_TURNS and plan.convert_at == "soak_end":
        rest = [card for card in plan.cards if card not in _swap(plan).first]
        return f"{plan.old.release} stops, {plan.new.release} starts on card {card_list(rest)} too: {plan.new_start}"
    if plan.way.strategy == TAKE_TURNS:
        return "nothing is left to do: every card changed at 100 %"
    return "nothing is left to do" if plan.way.strategy == RECREATE else f"{plan.old.release} stops"


def _back(plan: Plan) -> Iterator[str]:
    old = plan.old.release
    if plan.way.strategy == RECREATE:
        yield f"rollback, at any moment: the start of {old}, {plan.old_start}, while nothing is served"
    elif plan.keeps_old_ready:
        yield f"rollback until the soak ends: below 1 s, engines of {old} stay ready"
        if plan.way.strategy == TAKE_TURNS:
            yield f"  and the start of {old}, {plan.old_start}, until it has all cards again"
    else:
        yield f"rollback before 100 %: below 1 s; from then on the start of {old}, {plan.old_start}"
    yield f"rollback after the finish: an upgrade back to {old}, without download; its start takes {plan.old_start}"


def _commands() -> Iterator[str]:
    yield f"hold it: {RUN}/upgrade.py -y --data move=hold     (go on: move=resume)"
    yield f"move it: {RUN}/upgrade.py -y --data move=50       (end the soak: move=finish)"
    yield f"undo it: {RUN}/rollback.py -y"
    yield f"look:    {RUN}/status.py -y"


def _swap(plan: Plan) -> Swap:
    return Swap(plan.old_slot, plan.new_slot, plan.cards, "take-turns", plan.convert_at)


def _start(seconds: float | None) -> str:
    return NEVER_MEASURED if seconds is None else f"{span(seconds)} (measured)"


def _image(reference: str) -> str:
    name, _, digest = reference.partition("@sha256:")
    return f"{name}@sha256:{digest[:DIGEST_DIGITS]}" if digest else name or "not recorded"


def _revision(slot: Slot) -> str:
    return slot.revision[:DIGEST_DIGITS] or "not recorded"


def span(seconds: float) -> str:
    """``45 s``, ``11 min``, ``24 h``, ``3 days``: rounded, but never to nothing."""
    for size, word, least in ((86400, "days", 2), (3600, "h", 2), (60, "min", 2)):
        if seconds >= least * size:
            return f"{seconds / size:.1f} {word}".replace(".0 ", " ")
    return f"{seconds:.0f} s" if seconds >= 1 else "below 1 s"
