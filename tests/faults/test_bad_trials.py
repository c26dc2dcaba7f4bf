"""Each kind of bad release is told from its harmless twin by probes alone: engines here, judged as on a host."""

from typing import Final

from tandem.domain.judge import FAIL, INCONCLUSIVE, PASS
from tandem.rehearsal.programs.knobs.settings import Knobs
from tests.faults.bad_releases import KINDS, some
from tests.faults.trial import Tried, listening, tried

MOST_PAIRS: Final = 400


def against_a_good_one(knobs: Knobs, seed: int) -> Tried:
    with listening(Knobs()) as old, listening(knobs) as new:
        return tried(old, new, seed, MOST_PAIRS)


def told(name: str, found: Tried) -> str:
    return f"{name:50} {found.verdict.outcome:13} {found.pairs:3} pairs  {found.verdict.reasons[0]}"


def test_bad_releases_fail_by_their_answers_times_and_errors(seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    # The others are found by what the guard sees, or only while users ask.
    judged = [kind for kind in KINDS if kind.latest != "staging" and not kind.users]
    wrong = []
    for kind in some(judged, 4, seed):
        found = against_a_good_one(kind.bad, seed)
        print(told(kind.name, found))
        # What breaks one request in twenty may pass once in twenty times: it fails at the canary's share then.
        if found.verdict.outcome == INCONCLUSIVE or (found.verdict.outcome != FAIL and kind.latest == "comparing"):
            wrong.append(kind.name)
    assert wrong == []


def test_their_harmless_twins_pass(seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    wrong = []
    for kind in some(KINDS, 2, seed):
        found = against_a_good_one(kind.twin, seed)
        print(told(kind.harmless, found))
        if found.verdict.outcome != PASS:
            wrong.append((kind.harmless, found.verdict.reasons))
    assert wrong == []
