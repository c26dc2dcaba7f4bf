"""The sentences about a rollout on the status screen: where it is, what comes next, and the way back. Pure."""

from collections.abc import Mapping
from typing import Any

from tandem.domain.advance import ENDING
from tandem.domain.loose import count, items, mapping, moment, number, text
from tandem.domain.option import option
from tandem.domain.weights import duration

UPGRADE = "pyinfra INVENTORY deploys/upgrade.py -y"
ROLLBACK = "pyinfra INVENTORY deploys/rollback.py -y"


def serves(status: Mapping[str, Any]) -> str:
    """What serves, which part of the requests each release has, and since when the serving one does."""
    now, serving = mapping(status.get("rollout")), text(status.get("serving"))
    shares = {name: number(mapping(slot).get("weight")) for name, slot in mapping(status.get("slots")).items()}
    if now and shares and not any(shares.values()):
        return "NOTHING is asked right now: the releases change places"
    asked = [name for name, share in sorted(shares.items()) if share] or [serving]
    said = []
    for name in asked:
        share = shares.get(name)
        part = f"{share:.0f} %" if share is not None else "unknown share"
        part = "all requests" if part == "100 %" else part
        said.append(f"{_named(status, name)} ({part}{_since(status) if name == serving else ''})")
    return " and ".join(said)


def _since(status: Mapping[str, Any]) -> str:
    """ ", serving since ...": a date as it is, or how long in boot seconds."""
    value, now = status.get("serving_since"), number(status.get("now_boot_seconds"))
    began = number(value)
    if began is not None:
        return f", serving for {duration(now - began)}" if now is not None and now >= began else ""
    return f", serving since {moment(value)}" if moment(value) else ""


def rollout(status: Mapping[str, Any], guard: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and sentence each; nothing when there is no rollout."""
    now = mapping(status.get("rollout"))
    if not now:
        return []
    swap = mapping(now.get("swap"))
    old, new = text(swap.get("old")), text(swap.get("new"))
    spent, who = number(now.get("spent_seconds")), text(now.get("who"))
    # Only what is judged is counted.
    lasting = f", for {duration(spent)}" if spent is not None and spent >= 1 else ""
    by = f" (begun by {who})" if who else ""
    at = {"staging": "starting it", "comparing": "comparing, unexposed"}.get(text(now.get("phase")), "")
    at = at or text(now.get("phase")).replace("_", " ") or "unknown phase"
    found = [("upgrade", f"{_named(status, old)} -> {_named(status, new)}: {at}{lasting}{by}")]
    lean, held, why = text(now.get("lean")), text(now.get("held")), text(now.get("why"))
    if lean:
        found.append(("LEANS", f"{_named(status, lean)} has all requests: the other side is dead"))
    phase = text(now.get("phase"))
    if held and phase in ENDING:
        units = "journalctl -u UNIT on the host says why an engine does not start, deploys/doctor.py looks at the cards"
        other = f". Or undo it: {ROLLBACK}" if phase == "finishing" else ""
        found.append(("STUCK", f"{held}. Mend that, then it goes on by itself: {units}{other}"))
    elif held:
        first = "mend the side that is dead, then " if lean else ""
        found.append(("HELD", f"{held}. To go on: {first}{UPGRADE} --data move=resume"))
    if why:
        found.append(("why", why))
    found.append(("next", _next(now, guard)))
    if phase not in ENDING:
        found.append(("undo", f"{ROLLBACK} ({_way_back(status, guard, old)})"))
    return found


def _named(status: Mapping[str, Any], slot: str) -> str:
    known = mapping(mapping(status.get("slots")).get(slot))
    release = text(known.get("release"))
    return f"release {release} in {slot}" if release else f"the release in {slot}" if slot else "unknown"


def _next(now: Mapping[str, Any], guard: Mapping[str, Any]) -> str:
    """What the guard says; without it, what the pacing allows at the earliest."""
    if not guard:
        return "unknown: nothing is heard of the guard"
    if text(guard.get("next")):
        return text(guard["next"])
    if text(now.get("held")):
        return "nothing by itself: it is held"
    pacing, spent = mapping(now.get("pacing")), number(now.get("spent_seconds"))
    named = text(now.get("phase"))
    window = number(pacing.get({"shifting": "window_seconds", "soaking": "soak_seconds"}.get(named, "")))
    if window is None or spent is None:
        return "as soon as the comparison has seen enough" if named == "comparing" else "unknown"
    step = _step(now, pacing) if named == "shifting" else "the old release is freed"
    return f"{step} in {duration(max(0.0, window - spent))} at the earliest, if the comparison passes"


def _step(now: Mapping[str, Any], pacing: Mapping[str, Any]) -> str:
    weight = number(now.get("weight"))
    known = [found for one in items(pacing.get("weights")) if (found := count(one)) is not None]
    more = sorted(one for one in known if weight is not None and one > weight)
    return f"{more[0]} %" if more else "soaking" if weight is not None and known else "the next step"


def _way_back(status: Mapping[str, Any], guard: Mapping[str, Any], old: str) -> str:
    engines = mapping(guard.get("engines"))
    if any(name.startswith(f"vllm-{old}-") and mapping(one).get("ready") is True for name, one in engines.items()):
        return "the old release is ready, its traffic comes back at once"
    if not engines:
        return "how long that takes is unknown"
    start = number(mapping(mapping(status.get("slots")).get(old)).get("start_seconds"))
    took = f"it took {duration(start)} to start when measured" if start is not None else "for how long is unknown"
    return f"the old release has to start first, {took}"


def past(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the last rollout ended, and how to have the release that does not serve since then."""
    over = mapping(status.get("past"))
    outcome, release = text(over.get("outcome")), text(over.get("release")) or "unknown"
    if not outcome:
        return []
    at = f" {moment(over.get('at'))}" if moment(over.get("at")) else ""
    why = f": {text(over.get('why'))}" if text(over.get("why")) else ""
    words = {"finished": f"finished{at}, release {release} was replaced", "undone": f"release {release} undone{at}"}
    found = [("last", words.get(outcome, f"{outcome}{at}, release {release}") + why)]
    if not status.get("rollout") and release != "unknown":
        start = number(over.get("start_seconds"))
        took = f" (it took {duration(start)} to start when measured)" if start is not None else ""
        what = {"finished": "to bring it back", "undone": "to try it again"}.get(outcome, "to use it")
        once_more = " --data again=true" if outcome == "undone" else ""
        found.append(("", f"{what}: {UPGRADE} --data {option(release)}{once_more}{took}"))
    return found
