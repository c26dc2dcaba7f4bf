"""Bad releases on a host: each is undone by itself before more than the canary's share of the users meets it."""

from contextlib import nullcontext
from typing import Final

from tandem.rehearsal.programs.knobs.settings import Knobs
from tests.faults.bad_releases import KINDS, PHASES, Kind, some
from tests.faults.upgrading import AT_ONCE, GOOD, Course, Knobbed

HEAD: Final = ("kind", "found in", "share", "staged to found", "compared to found", "why")


def row(kind: Kind, course: Course) -> str:
    seconds = [course.seconds(phase) for phase in ("staging", "comparing")]
    shown = " ".join(f"{'-' if value is None else f'{value:.1f} s':>8}" for value in seconds)
    return f"{kind.name:45} {course.found_in:10} {course.most_percent:4} %  {shown}  {course.why[:120]}"


def complaints(kind: Kind, course: Course) -> list[str]:
    """What is not as it must be after a bad release was tried."""
    found = []
    if course.outcome != "undone":
        found.append(f"it is {course.outcome}")
    elif course.found_in not in PHASES[: PHASES.index(kind.latest) + 1]:
        found.append(f"it was found in {course.found_in}, at the latest due in {kind.latest}")
    if course.most_percent > kind.most_percent:
        found.append(f"it had {course.most_percent} % of the requests, at most due are {kind.most_percent} %")
    serving = course.state["slots"][course.state["serving"]]
    if (serving["release"], serving["weight"]) != (GOOD, 100):
        found.append(f"{serving['release']} serves with {serving['weight']} %")
    return [f"{kind.name}: {one}" for one in found]


def test_bad_releases_are_undone_by_themselves_before_more_than_the_canary_meets_them(
    knobbed: Knobbed, seed: int
) -> None:
    print(f"TANDEM_SEED={seed}\n{' | '.join(HEAD)}")
    wrong = []
    for number, kind in enumerate(some(KINDS, 2, seed)):
        with knobbed.load() if kind.users else nullcontext():
            ended, course = knobbed.upgrade(f"bad-{number}", kind.bad)
        print(row(kind, course), flush=True)
        wrong += [f"{kind.name}: {ended.output}"] if ended.status else complaints(kind, course)
        if course.state["rollout"]:
            knobbed.undo(f"bad-{number}", kind.bad)
    assert wrong == []


def test_harmless_twins_finish(knobbed: Knobbed, seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    wrong = []
    for number, kind in enumerate(some(KINDS, 1, seed)):
        with knobbed.load() if kind.users else nullcontext():
            ended, course = knobbed.upgrade(f"twin-{number}", kind.twin)
        span = course.places[-1][0] - course.places[0][0] if course.places else 0.0
        print(f"{kind.harmless:50} {course.outcome:10} {span:6.1f} s  {course.why[:120]}", flush=True)
        if ended.status or course.outcome != "finished":
            wrong.append(f"{kind.harmless}: {course.outcome} {course.why} {ended.output if ended.status else ''}")
        if course.state["rollout"]:
            knobbed.undo(f"twin-{number}", kind.twin)
        elif course.outcome == "finished":
            _, back = knobbed.upgrade(GOOD, Knobs(), AT_ONCE)
            assert back.outcome == "finished", back
    assert wrong == []
