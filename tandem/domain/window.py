"""From the samples of one step, as they stand in their file, to what the judge is asked about. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from tandem.domain.advance import Comparison
from tandem.domain.judge import Rules
from tandem.domain.paired import TIMES, Pair, Sample, Traffic, Window

IDLE_SHARE: Final = 0.9
"""Of the pairs: when neither engine had anything else to do in so many, their times can be compared."""

LOPSIDED: Final = 2
"""Times the requests of users on the old side: with more on the new one, half of the conversations are not half of
the work. The other way round is no excuse: who is answered slowly asks less.
"""


def window(samples: Iterable[Mapping[str, Any]], old: Traffic, new: Traffic, weight: int) -> Window:
    """``old``, ``new``: the requests of users in the step; ``weight``: the new release's share in percent.

    Pairs without the old side are left out (``alone`` counts them), and so is what is no pair.
    """
    read = [(pair, sample) for sample in samples if (pair := _pair(sample)) is not None]
    idle = sum(_idle(sample.get("busy")) for _, sample in read)
    halves = weight == 50 and new.requests <= LOPSIDED * old.requests
    equal = halves or (bool(read) and idle >= IDLE_SHARE * len(read))
    return Window([pair for pair, _ in read], old, new, equal)


def alone(samples: Iterable[Mapping[str, Any]]) -> Traffic:
    """The probes that only the new release was asked, and those of them that failed: an error, not a wrong answer."""
    answers = [_sample(sample.get("new")) for sample in samples if "old" in sample and sample["old"] is None]
    known = [answer for answer in answers if answer is not None]
    return Traffic(len(known), sum(answer.error is not None for answer in known))


def rules(comparison: Comparison) -> Rules:
    """What the rollout was begun with. Raises ValueError for what could never decide."""
    return Rules(
        requests=comparison.requests,
        pairs=comparison.pairs,
        cases=comparison.cases,
        margin=comparison.margin,
        limits_seconds=dict(comparison.limits_seconds),
    )


def _pair(sample: Mapping[str, Any]) -> Pair | None:
    case, old, new = sample.get("case"), _sample(sample.get("old")), _sample(sample.get("new"))
    if not isinstance(case, str) or old is None or new is None:
        return None
    for time in TIMES:
        old, new = _evened(time, old, new)
    return Pair(case, old, new, sample.get("critical") is True, sample.get("graded") is not False)


def _evened(time: str, old: Sample, new: Sample) -> tuple[Sample, Sample]:
    """Without a time that only one side has for a good reason: an answer of one token has no gap, and what a wrong
    answer lacks is its fault already. Every other time that one side lacks is for the judge to see.
    """
    lacking = [side for side in (old, new) if side.seconds(time) is None]
    if len(lacking) != 1 or lacking[0].error is not None:
        return old, new
    if time == "token_gap_seconds" or lacking[0].failed:
        nothing: dict[str, Any] = {time: None}
        return replace(old, **nothing), replace(new, **nothing)
    return old, new


def _sample(record: object) -> Sample | None:
    """None for what is no sample."""
    if not isinstance(record, Mapping) or not {field.name for field in fields(Sample)} <= record.keys():
        return None
    error, failed = record["error"], record["failed"]
    times = {time: record[time] for time in TIMES}
    if not (error is None or isinstance(error, str)) or not _are(failed, str):
        return None
    if not all(time is None or type(time) in (int, float) for time in times.values()):
        return None
    return Sample(**times, error=error, failed=tuple(failed))


def _are(values: object, kind: type) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(type(one) is kind for one in values)


def _idle(busy: object) -> bool:
    """Both engines had nothing else to do; what is not known is not idle."""
    return isinstance(busy, Sequence) and len(busy) == 2 and all(type(one) is int and one == 0 for one in busy)
