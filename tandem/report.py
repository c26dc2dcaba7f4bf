"""The comparison report: one HTML page that needs nothing else, from the JSON of ``tandemctl report``.

Says only what the JSON holds. Anything in it may be missing, and all of its texts are escaped.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tandem import report_plots as plots
from tandem.domain.loose import count, mapping, mappings, moment, number, text, texts
from tandem.domain.paired import TIMES
from tandem.domain.weights import duration
from tandem.render.templates import TEMPLATES
from tandem.report_figures import Asked, Case, Spread, asked, cases, equal_load, errors, skipped, spread, times

PHASES: Final = {
    "staging": "start",
    "comparing": "compare, unexposed",
    "shifting": "shift",
    "soaking": "soak",
    "finishing": "free the old release",
    "rolling_back": "take back",
}
OUTCOMES: Final = {"pass": "passed", "fail": "failed", "inconclusive": "not decided"}
CASE_SAYS: Final = {
    "lost": "fails on the new side only",
    "won": "fails on the old side only",
    "none": "no evidence: the old side fails too",
    "alone": "no evidence: not asked of both sides",
    "same": "both pass",
}
IDENTITY: Final = {
    "release": "release",
    "digest": "digest",
    "model": "model",
    "revision": "model revision",
    "image": "engine image",
    "start_seconds": "measured start",
}
MOST_ROWS: Final = 300
"""Of steps, cases and history; a page that is longer says what it left out."""
BOX_STEPS: Final = 10
MOST_WHY: Final = 4

_environment = Environment(
    loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def html(report: Mapping[str, Any]) -> str:
    """The page. It stays under a megabyte for 20,000 samples."""
    rollout, lines = mapping(report.get("rollout")), asked(report.get("samples"))
    by_step: dict[int, list[Asked]] = {}
    for line in lines:
        if line.step is not None:
            by_step.setdefault(line.step, []).append(line)
    slots = {side: text(mapping(rollout.get(side)).get("slot")) or side for side in ("old", "new")}
    steps = [_step(one, by_step, slots) for one in _once(mappings(report.get("steps")))]
    equal = equal_load(report.get("samples"), {step["step"]: count(step["weight"]) for step in steps})
    found, history = cases(lines), mappings(report.get("history"))
    return _environment.get_template("report/report.html.j2").render(
        facts=_facts(rollout),
        names={side: _name(rollout, side) for side in ("old", "new")},
        headline=_headline(rollout, steps),
        last=next((step for step in reversed(steps) if step["outcome"]), None),
        identity=_identity(rollout),
        steps=steps[-MOST_ROWS:],
        steps_left_out=max(0, len(steps) - MOST_ROWS),
        times=[_time(time, name, lines, by_step, equal, steps) for time, name in TIMES.items()],
        equal=[str(place) for place in sorted(equal)],
        pairs=sum(line.old is not None and line.new is not None for line in lines),
        alone=sum(line.old is None for line in lines),
        cases=[_case(case) for case in found[:MOST_ROWS]],
        cases_left_out=max(0, len(found) - MOST_ROWS),
        without_evidence=[case.name for case in found if case.says == "none"][:MOST_ROWS],
        skipped=skipped(report.get("samples"))[:MOST_ROWS],
        errors=errors(lines)[:MOST_ROWS],
        history=[(moment(one.get("at")), text(one.get("sentence"))) for one in history[-MOST_ROWS:]],
        history_left_out=max(0, len(history) - MOST_ROWS),
    )


def _name(rollout: Mapping[str, Any], side: str) -> str:
    release = text(mapping(rollout.get(side)).get("release"), 60)
    return f"release {release}" if release else f"the {side} release"


def _headline(rollout: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The mark and the one sentence on top."""
    old, new = _name(rollout, "old"), _name(rollout, "new")
    outcome, why, held = (text(rollout.get(key)) for key in ("outcome", "why", "held"))
    because = f": {why}" if why else ""
    if outcome == "finished":
        return "pass", f"{new} took the place of {old}{because}."
    if outcome == "undone":
        return "fail", f"{new} was taken back, {old} has all requests again{because}."
    if outcome in PHASES:
        weight = number(rollout.get("weight"))
        share = "" if weight is None else f", {weight:.0f} % of the requests"
        mark = "fail" if outcome == "rolling_back" else "inconclusive"
        return mark, f"{new} beside {old}: under way, phase {PHASES[outcome]}{share}{because}."
    if not steps:
        return "inconclusive", f"{new} beside {old}: nothing was measured yet{because}."
    if held:
        return "inconclusive", f"{new} beside {old} is held: {held}."
    last = steps[-1]
    share = "" if last["weight"] is None else f" with {last['weight']:.0f} % of the requests"
    at = last["phase_word"] or "unknown"
    verdict = last["outcome_word"] or "no verdict yet"
    return last["outcome"] or "inconclusive", f"{new} beside {old}{share}: phase {at}, {verdict}{because}."


def _facts(rollout: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = [
        (name, moment(rollout.get(key)))
        for name, key in (("begun", "began_at"), ("by", "who"), ("id", "id"), ("strategy", "strategy"))
    ]
    return [(name, said) for name, said in given if said]


def _identity(rollout: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Rows: what, old, new, whether they differ."""
    rows = []
    for key, name in IDENTITY.items():
        said = []
        for side in ("old", "new"):
            value = mapping(rollout.get(side)).get(key)
            start = number(value) if key == "start_seconds" else None
            said.append(duration(start) if start is not None and start >= 0 else text(value))
        if any(said):
            rows.append((name, said[0], said[1], all(said) and said[0] != said[1]))
    return rows


def _once(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Every step once, as it was told last: a guard that was killed may tell one again."""
    last: dict[object, Mapping[str, Any]] = {}
    for place, step in enumerate(steps):
        known = count(step.get("step"))
        last[("unnumbered", place) if known is None else known] = step
    return list(last.values())


def _step(step: Mapping[str, Any], by_step: Mapping[int, Sequence[Asked]], slots: Mapping[str, str]) -> dict[str, Any]:
    verdict, phase = mapping(step.get("verdict")), text(step.get("phase"), 40)
    outcome, weight, spent = text(verdict.get("outcome"), 40), number(step.get("weight")), number(step.get("seconds"))
    place = count(step.get("step"))
    traffic = mapping(step.get("traffic"))
    sides = [mapping(traffic.get(slots[side], traffic.get(side))) for side in ("old", "new")]
    realised = {what: _share([count(side.get(what)) for side in sides]) for what in ("requests", "tokens")}
    results = [
        (text(one.get("metric"), 60).replace("_", " "), text(one.get("outcome"), 40), text(one.get("reason")))
        for one in mappings(verdict.get("results"))[:20]
    ]
    return {
        "step": place,
        "phase": phase,
        "phase_word": PHASES.get(phase, phase),
        "weight": weight,
        "bar": plots.share_bar(weight, realised["requests"]),
        "realised": realised,
        "seconds": duration(spent) if spent is not None and spent >= 0 else "",
        "questions": 0 if place is None else len(by_step.get(place, ())),
        "outcome": outcome if outcome in OUTCOMES else "",
        "outcome_word": OUTCOMES.get(outcome, outcome),
        "reasons": texts(verdict.get("reasons"))[:20],
        "results": [(metric, one, OUTCOMES.get(one, one), reason) for metric, one, reason in results],
    }


def _share(parts: Sequence[int | None]) -> float | None:
    """The new side's part in percent; None while nothing was counted."""
    old, new = parts
    return 100 * new / (old + new) if old is not None and new is not None and old + new else None


def _time(
    time: str,
    name: str,
    lines: Sequence[Asked],
    by_step: Mapping[int, Sequence[Asked]],
    equal: Container[int],
    steps: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """One time over all steps. Pairs are set against each other only in steps of ``equal`` load."""
    both = times(lines, time)
    if not both:
        return {"name": name, "pairs": 0}
    old, new = [one for one, _ in both], [one for _, one in both]
    labels = {step["step"]: _label(step) for step in steps}
    columns: list[tuple[str, Spread, Spread]] = []
    ratios: list[float] = []
    for place, asked_then in sorted(by_step.items()):
        found = times(asked_then, time)
        first, second = spread([one for one, _ in found]), spread([one for _, one in found])
        if first and second:
            columns.append((f"{labels.get(place, f'step {place}')}\n{len(found)} pairs", first, second))
        if place in equal:
            ratios += [later / earlier for earlier, later in found]
    ratio = spread(ratios)
    return {
        "name": name,
        "pairs": len(both),
        "curves": plots.curves(old, new, name),
        "boxes": plots.boxes(columns[-BOX_STEPS:], name) if columns else "",
        "steps_left_out": max(0, len(columns) - BOX_STEPS),
        "sides": [(side, _said(spread(values))) for side, values in (("old", old), ("new", new))],
        "ratio": [_times(value) for value in (ratio.p50, ratio.p25, ratio.p75)] if ratio else [],
        "ratio_pairs": len(ratios),
    }


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if 0.1 <= ratio < 100 else f"{ratio:.3g}"


def _label(step: Mapping[str, Any]) -> str:
    if step["phase"] == "shifting" and step["weight"] is not None:
        return f"{step['weight']:.0f} %"
    return {"comparing": "compare", "soaking": "soak"}.get(step["phase"], f"step {step['step']}")


def _said(one: Spread | None) -> list[str]:
    return [plots.seconds(value) for value in (one.p50, one.p95, one.most)] if one else []


def _case(case: Case) -> dict[str, Any]:
    why = {
        side: [(sentence, times_) for sentence, times_ in counted.most_common(MOST_WHY)]
        for side, counted in case.why.items()
    }
    return {
        "name": case.name,
        "critical": case.critical,
        "says": case.says,
        "says_word": CASE_SAYS[case.says],
        "sides": [(side, case.passed[side], case.asked[side], why[side]) for side in ("old", "new")],
    }
