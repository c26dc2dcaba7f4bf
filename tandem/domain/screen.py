"""What a host does, as lines for a person: from the JSON of ``tandemctl status``. Pure.

What is missing is left out or called unknown. What the guard said is shown only while it is fresh.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tandem.domain.loose import count, mapping, mappings, moment, number, text, texts
from tandem.domain.screen_engines import engines
from tandem.domain.screen_rollout import past, rollout, serves
from tandem.domain.screen_table import LABEL, table
from tandem.domain.weights import duration

NARROWEST: Final = 72
GUARD_SILENT_SECONDS: Final = 15.0
REASONS: Final = 3


def lines(status: Mapping[str, Any], width: int = 100) -> list[str]:
    """One screen, ASCII only, no line longer than ``width`` (at least NARROWEST).

    ``status``: the record of the state, with "guard" (None: none was seen), "guard_age_seconds", "cards",
    "lock_holder", "split_differs", "backup", "now_boot_seconds" and "serving_since" (a date, or boot seconds).
    """
    width = max(NARROWEST, width)
    age, told = number(status.get("guard_age_seconds")), mapping(status.get("guard"))
    guard = told if age is not None and 0 <= age <= GUARD_SILENT_SECONDS else {}
    shown: list[str] = []
    if "serving" not in status:
        _say(shown, width, "serves", "unknown: the host gave no record of what it serves")
    elif status["serving"] is None:
        _say(shown, width, "serves", "nothing yet. To begin: pyinfra INVENTORY deploys/install.py")
    else:
        _say(shown, width, "serves", serves(status))
        for label, sentence in rollout(status, guard):
            _say(shown, width, label, sentence)
        _verdict(shown, width, guard)
        _add(shown, _slots(status, guard, width))
        _add(shown, engines(status, guard, width))
    _add(shown, _cards(status, width))
    shown.append("")
    for label, sentence in (*_rest(status, told, age), *past(status)):
        _say(shown, width, label, sentence)
    return [line.encode("ascii", "replace").decode("ascii").rstrip() for line in shown]


def _say(shown: list[str], width: int, label: str, sentence: str) -> None:
    shown += textwrap.wrap(
        text(sentence, 1000), width, initial_indent=f"{label:<{LABEL}}", subsequent_indent=" " * LABEL
    ) or [label]


def _add(shown: list[str], rows: Sequence[str]) -> None:
    if rows:
        shown += ["", *rows]


def _verdict(shown: list[str], width: int, guard: Mapping[str, Any]) -> None:
    verdict = mapping(guard.get("verdict"))
    outcome = text(verdict.get("outcome"))
    if outcome:
        said = {"pass": "passes so far", "fail": "FAILS", "inconclusive": "not decided yet"}.get(outcome, outcome)
        reasons = texts(verdict.get("reasons"))
        more = f"; and {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
        because = ": " + "; ".join(reasons[:REASONS]) + more if reasons else ""
        _say(shown, width, "compared", said + because)


def _slots(status: Mapping[str, Any], guard: Mapping[str, Any], width: int) -> list[str]:
    """Both sides: who they are, what they are asked, and how that went in the guard's present window."""
    swap, traffic = mapping(mapping(status.get("rollout")).get("swap")), mapping(guard.get("traffic"))
    rows = []
    for name, value in sorted(mapping(status.get("slots")).items()):
        slot, seen = mapping(value), mapping(traffic.get(name))
        weight, typical = number(slot.get("weight")), number(seen.get("typical_seconds"))
        requests, failed = count(seen.get("requests")), count(seen.get("failures"))
        side = {text(swap.get("old")): "old", text(swap.get("new")): "new"}.get(name, "")
        rows.append(
            [
                name,
                text(slot.get("release")) or "unknown",
                text(slot.get("digest"))[:19],
                side,
                "unknown" if weight is None else f"{weight:.0f} %",
                "unknown" if requests is None else f"{requests}",
                "unknown" if failed is None else f"{failed}",
                "unknown" if typical is None else f"{typical:.3g} s",
            ]
        )
    head = ["slot", "release", "digest", "side", "share", "requests", "errors", "typically"]
    return table(head, rows, 4, width) if rows else []


def _cards(status: Mapping[str, Any], width: int) -> list[str]:
    rows = []
    for card in mappings(status.get("cards")):
        used, total = number(card.get("memory_used_mib")), number(card.get("memory_total_mib"))
        index = count(card.get("index"))
        rows.append(
            [
                "?" if index is None else f"{index}",
                text(card.get("name")) or "unknown",
                "unknown" if used is None else f"{used / 1024:.1f} GiB",
                "unknown" if total is None else f"{total / 1024:.1f} GiB",
                "" if used is None or not total else f"{100 * used / total:.0f} %",
            ]
        )
    return table(["card", "name", "used", "of", ""], rows, 2, width) if rows else []


def _rest(status: Mapping[str, Any], told: Mapping[str, Any], age: float | None) -> list[tuple[str, str]]:
    found = [("guard", _guard(status, told, age))]
    webui = mapping(status.get("webui"))
    if webui:
        port = count(webui.get("port"))
        # Port 1 refuses: the router then says that the page is away.
        closed = "closed: a switch is under way, or was cut short and is undone"
        at = f", {closed if port == 1 else f'port {port}'}" if port is not None else ""
        found.append(("WebUI", f"{text(webui.get('slot')) or 'unknown slot'}{at}"))
    for name, what in mapping(status.get("split_differs")).items():
        found.append(("WRONG", f"{text(name)} is {text(what) or 'not as recorded'}: run install again"))
    if "backup" in status:
        found.append(("backup", _backup(mapping(status["backup"]))))
    if text(status.get("lock_holder")):
        found.append(("changing", text(status["lock_holder"])))
    return found


def _guard(status: Mapping[str, Any], told: Mapping[str, Any], age: float | None) -> str:
    if not told:
        return "not seen" if status.get("guard", "") is None else "unknown"
    if age is None or age < 0:
        return "unknown: when it last said something is not known"
    if age > GUARD_SILENT_SECONDS:
        does = "; nothing moves on by itself" if status.get("rollout") else ""
        return f"SILENT for {duration(age)}{does}. See: systemctl status tandem-guard"
    return f"{text(told.get('doing')) or 'watching'} (seen {duration(age)} ago)"


def _backup(backup: Mapping[str, Any]) -> str:
    """``backup``: as ``hostside.backup_record.look`` says."""
    wrong, last = texts(backup.get("warnings")), mapping(backup.get("record"))
    if wrong:
        return f"WARNING: {'; '.join(wrong)}"
    made, where = moment(last.get("at")), text(last.get("where"))
    return (f"made {made}" if made else "unknown") + (f", in {where}" if where else "")
