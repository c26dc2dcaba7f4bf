"""How one release can take the place of another on the cards there are, and why so. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem.domain.capacity import RECREATE, SIDE_BY_SIDE, TAKE_TURNS, Assessment, phases, sizes_to_share, strategy
from tandem.domain.capacity_figures import GIB
from tandem.domain.capacity_upgrade import Phase
from tandem.domain.refused import Refused

UNKNOWN: Final = "how much memory both need together is not known"


@dataclass(frozen=True)
class Way:
    """``phases``: the conversations of ``longest`` tokens that each part of the upgrade carries; () when not known.
    ``advice``: how it would go without a gap, "" when there is none or no way.
    """

    strategy: str
    why: str
    phases: tuple[Phase, ...] = ()
    longest: int = 0
    advice: str = ""


def way(old: Assessment | None, new: Assessment | None, cards: Sequence[int]) -> Way:
    """``old`` or ``new`` is None when what it needs is not known. Then they never share a card.

    Raises Refused when the new release can't start at all.
    """
    if new is not None and new.refusal:
        raise Refused(new.refusal)
    if old is None or new is None or old.refusal:
        return _unshared(UNKNOWN, cards)
    found, figures = strategy(old, new), _figures(old, new)
    if found == SIDE_BY_SIDE:
        return Way(found, f"both fit on each card: {figures}", phases(old, new), new.max_model_len)
    if old.need_bytes_per_card + new.need_bytes_per_card <= new.room_bytes:
        figures = f"either would not find free at its start what its gpu-memory-utilization asks for ({figures})"
    else:
        figures = f"they do not fit on one card together: {figures}"
    unshared = _unshared(figures, cards)
    advice = _advice(new) if unshared.strategy == RECREATE else ""
    return Way(unshared.strategy, unshared.why, phases(old, new), new.max_model_len, advice)


def consented(found: Way, allowed: bool, old: str, new: str, gap: str) -> None:
    """Raises Refused, with the numbers, for a way that serves nothing for a while and was not consented to.

    ``gap``: how long nothing would be served, in words.
    """
    if found.strategy != RECREATE or allowed:
        return
    ways = ["set upgrade/allow_gap to True and run it again when nobody needs the service"]
    if found.advice:
        ways.append(f"declare {new} (and {old} before it) with {found.advice}, so that both fit on each card")
    raise Refused(
        f"{new} can take the place of {old} only while nothing is served, for {gap}: {found.why}. Nothing was changed. "
        f"Either {', or '.join(ways)}."
    )


def _unshared(why: str, cards: Sequence[int]) -> Way:
    if len(cards) > 1:
        return Way(TAKE_TURNS, f"{why}; of the {len(cards)} cards half change first, the others go on serving")
    return Way(RECREATE, f"{why}; there is one card")


def _figures(old: Assessment, new: Assessment) -> str:
    needs = f"{old.need_bytes_per_card / GIB:.2f} and {new.need_bytes_per_card / GIB:.2f} GiB"
    return f"{needs} of {new.room_bytes / GIB:.2f} GiB"


def _advice(new: Assessment) -> str:
    sizes = sizes_to_share(new)
    if sizes is None:
        return ""
    return f"kv-cache-memory-bytes at most {sizes.kv_bytes} and gpu-memory-utilization at most {sizes.utilization:.2f}"
