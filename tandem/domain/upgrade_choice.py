"""Whether there is anything to upgrade, and whether that may be begun. Pure."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from tandem.domain.advance import Rollout
from tandem.domain.option import RUN, option
from tandem.domain.refused import Refused
from tandem.domain.rollout import Past, State
from tandem.domain.slots import SLOTS, card_of

Choice: TypeAlias = Literal["begin", "continue", "nothing"]


def decide(state: State, name: str, digest: str, cards: Sequence[int], again: bool = False) -> Choice:
    """What there is to do for the release ``name`` on ``cards``. Raises Refused for what can't be begun.

    ``again``: also when this very release was the last one, and was undone.
    """
    current = state.current
    if current is None or state.serving is None:
        raise Refused("nothing serves yet, so there is nothing to upgrade. Nothing was changed. Run install first.")
    if state.rollout is not None:
        return _under_way(state, state.rollout, name, digest)
    if current.digest == digest:
        return "nothing"
    used = sorted(card_of(state.serving, port) for port in current.engine_ports)
    if used != sorted(cards):
        raise Refused(
            f"release {current.release} runs on card {card_list(used)} and engine/cards names "
            f"{card_list(sorted(cards))}: an upgrade keeps the cards. Nothing was changed. Name the same cards, or "
            "install anew."
        )
    if not again and state.past is not None and was_undone(state.past, digest):
        called = "" if state.past.release == name else f", then called {state.past.release},"
        why = state.past.why or "no reason was recorded"
        raise Refused(
            f"{name}{called} was undone at {state.past.at}: {why}. Nothing was changed. "
            f"To stay with {current.release}, name it in `release`; declare what you mend under another name; to try "
            "this one once more as it is, add `--data again=true`."
        )
    return "begin"


def was_undone(past: Past, digest: str) -> bool:
    return past.outcome == "undone" and past.digest == digest


def _under_way(state: State, rollout: Rollout, name: str, digest: str) -> Choice:
    phase, old, new = rollout.phase, state.slots[rollout.swap.old], state.slots[rollout.swap.new]
    if phase == "rolling_back":
        raise Refused(
            f"the rollout of {new.release} is being undone. Nothing was changed. When {old.release} serves alone again "
            f"(`{RUN}/status.py -y` says so), run this again."
        )
    if digest == new.digest:
        return "continue"
    where = f"{rollout.weight} % of the requests, {phase}"
    ways = f"undo it with `{RUN}/rollback.py -y`"
    if phase == "soaking":
        ways += f", or end its soak with `{RUN}/upgrade.py -y --data move=finish`"
    if phase == "finishing":
        ways = f"it ends by itself soon; or {ways}"
    another = "stay with" if digest == old.digest else "begin"
    raise Refused(
        f"a rollout from {old.release} to {new.release} is under way ({where}), and {name} is wanted. Nothing was "
        f"changed. To go on with it, name it: `{RUN}/upgrade.py -y --data {option(new.release)}`. "
        f"To {another} {name}, {ways}."
    )


def comparable(cases: int, least: int) -> None:
    """Raises Refused where no comparison could ever pass."""
    if cases < least:
        raise Refused(
            f"there are {cases} cases, and least_cases is {least}: the upgrade would be held for ever. Nothing was "
            "changed. Name more questions in upgrade/comparison/cases; those in cases/ are for everybody."
        )


def idle_slot(serving: str) -> str:
    """The slot that the next release gets."""
    return next(slot for slot in SLOTS if slot != serving)


def card_list(cards: Sequence[int]) -> str:
    return ", ".join(str(card) for card in cards)
