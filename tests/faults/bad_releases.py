"""Kinds of bad releases, each with a harmless twin, as knobs of the rehearsal's small engine; and their cases."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tandem.config.case_files import read
from tandem.config.cases import Case
from tandem.rehearsal.programs.knobs.settings import Knobs
from tests.faults.sampling import WHOLE

ROOT: Final = Path(__file__).resolve().parents[2]
CANARY_PERCENT: Final = 10
"""The first share of users' requests: no bad release may ever have more."""

TOO_LONG: Final = {"latency-code", "latency-long-answer", "latency-long-prompt", "latency-paragraph",
                   "recall-16k-quarter", "recall-30k-middle"}  # fmt: skip
"""Left out for their time: the others are all asked before a window can be full."""

MINUTES_TO_FIND: Final = "slow when it is not alone"
"""Each of its 50 pairs takes nine seconds: in the campaign only."""

Latest = Literal["staging", "comparing", "shifting"]
PHASES: Final[tuple[Latest, ...]] = ("staging", "comparing", "shifting")


@dataclass(frozen=True)
class Kind:
    """``latest``: the last phase in which it must be found; ``shifting``: at the canary's share. ``harmless``: what the
    twin does instead. ``users``: shows, or is likelier to, only while users ask as well.
    """

    name: str
    bad: Knobs
    harmless: str
    twin: Knobs
    latest: Latest = "comparing"
    users: bool = False

    @property
    def most_percent(self) -> int:
        return CANARY_PERCENT if self.latest == "shifting" else 0

    def __str__(self) -> str:
        return self.name


KINDS: Final = (
    # Does it run at all?
    Kind("dies at start", Knobs(die_at_start=True), "starts in 5 s", Knobs(start_seconds=5), "staging"),
    Kind("never gets ready", Knobs(never_ready=True), "starts in 15 s", Knobs(start_seconds=15), "staging"),
    Kind("healthy by its own word only", Knobs(health_lies=True), "slow to say that it is healthy",
         Knobs(health_seconds=0.3), "staging"),
    Kind("hangs from the first request on", Knobs(hang_after=0), "takes a breath in 1 of 50 answers",
         Knobs(pause_share=0.02, pause_seconds=0.3), "staging"),
    Kind("hangs after 30 requests", Knobs(hang_after=30), "takes a long breath in 1 of 100 answers",
         Knobs(pause_share=0.01, pause_seconds=1.5)),
    Kind("dies after 40 requests", Knobs(die_after=40), "starts in 3 s", Knobs(start_seconds=3)),
    # Times.
    Kind("first token twice as late", Knobs(first_factor=2), "first token 1.1 times as late", Knobs(first_factor=1.1)),
    Kind("tokens twice as slow", Knobs(gap_factor=2), "tokens 1.1 times as slow", Knobs(gap_factor=1.1)),
    Kind("tokens twice as slow, three in an event", Knobs(gap_factor=2, words_per_event=3),
         "tokens 1.1 times as slow, three in an event", Knobs(gap_factor=1.1, words_per_event=3)),
    Kind("all 1.6 times as slow", Knobs(first_factor=1.6, gap_factor=1.6), "all 1.1 times as slow",
         Knobs(first_factor=1.1, gap_factor=1.1)),
    Kind("slower with every request", Knobs(leak_seconds=1e-3), "slower by 1 microsecond with every request",
         Knobs(leak_seconds=1e-6)),
    Kind("slow when it is not alone", Knobs(load_factor=30), "a little slower when it is not alone",
         Knobs(load_factor=0.02), "shifting", users=True),
    # Failures.
    Kind("5 % errors", Knobs(fail_share=0.05), "0.3 % errors", Knobs(fail_share=0.003), "shifting"),
    Kind("30 % errors", Knobs(fail_share=0.3, seed=3), "0.2 % errors", Knobs(fail_share=0.002, seed=3)),
    Kind("30 % reset connections", Knobs(reset_share=0.3), "0.3 % reset connections", Knobs(reset_share=0.003)),
    Kind("30 % of the streams cut", Knobs(cut_share=0.3), "0.3 % of the streams cut", Knobs(cut_share=0.003)),
    Kind("30 % errors with status 200", Knobs(error_body_share=0.3), "0.3 % errors with status 200",
         Knobs(error_body_share=0.003)),
    Kind("errors for questions that are in no case", Knobs(stranger_fail_share=0.3), "0.3 % errors for such questions",
         Knobs(stranger_fail_share=0.003), "shifting", users=True),
    Kind("errors when it is not alone", Knobs(busy_failures=True), "slower by a tenth when it is not alone",
         Knobs(load_factor=0.1), "shifting", users=True),
    # The form of what it says.
    Kind("streams without [DONE]", Knobs(no_done=True), "streams with comments", Knobs(comments=True)),
    Kind("events that are no JSON", Knobs(bad_events=True), "events with CR LF", Knobs(crlf=True)),
    Kind("another model's name", Knobs(other_model=True), "fields that nobody knows", Knobs(more_fields=True)),
    Kind("another role", Knobs(other_role=True), "the role in every chunk", Knobs(role_everywhere=True)),
    Kind("another finish reason", Knobs(other_finish=True), "two words in an event", Knobs(words_per_event=2)),
    Kind("streams that come in one piece", Knobs(one_piece=True), "three words in an event", Knobs(words_per_event=3)),
    Kind("errors in another form", Knobs(bad_errors="format"), "errors with one more field",
         Knobs(more_fields=True, seed=2)),
    Kind("500 for bad requests", Knobs(bad_errors="status"), "422 for bad requests", Knobs(status_422=True)),
    Kind("200 for bad requests", Knobs(bad_errors="ignored"), "422 and other words",
         Knobs(status_422=True, reworded=True)),
    # What it says.
    Kind("gibberish", Knobs(gibberish_share=1), "right answers in other words", Knobs(reworded=True)),
    Kind("gibberish in every third answer", Knobs(gibberish_share=0.33), "right answers in other words, comments",
         Knobs(reworded=True, comments=True)),
    Kind("empty answers", Knobs(empty_share=1), "events with CR LF and comments", Knobs(comments=True, crlf=True)),
    Kind("every third question answered wrong", Knobs(wrong_share=0.33), "one question of fifty answered wrong",
         Knobs(wrong_share=0.02, seed=6)),
    Kind("every token twice", Knobs(repeats=True), "other words, eight of them in an event",
         Knobs(reworded=True, words_per_event=8)),
    Kind("another language", Knobs(other_language=True), "other words, fields that nobody knows",
         Knobs(reworded=True, more_fields=True)),
    Kind("tool calls that can't be parsed", Knobs(bad_tool_arguments=True), "arguments over several lines",
         Knobs(spaced_json=True)),
    Kind("calls of a tool that nobody has", Knobs(other_tool=True), "JSON over several lines",
         Knobs(spaced_json=True, seed=2)),
    Kind("JSON with other keys", Knobs(bad_json=True), "JSON over several lines, other words",
         Knobs(spaced_json=True, reworded=True)),
    Kind("forgets what was said before", Knobs(forgets=True), "sees the last 100,000 characters",
         Knobs(sees_characters=100_000)),
    Kind("sees the last 4,000 characters only", Knobs(sees_characters=4000), "sees the last 60,000 characters",
         Knobs(sees_characters=60_000)),
)  # fmt: skip


def cases() -> tuple[Case, ...]:
    """Of the shipped ones, those whose answers every release here gets right within a moment."""
    return tuple(case for case in read([ROOT / "cases"]) if case.name not in TOO_LONG)


def write(some: Sequence[Case], path: Path) -> None:
    """As a file of cases, one a line."""
    path.write_text("".join(f"{json.dumps(case.record(), ensure_ascii=False)}\n" for case in some))


def some(kinds: Sequence[Kind], count: int, seed: int) -> list[Kind]:
    """Drawn by chance; all of them in the campaign (TANDEM_CAMPAIGN=1)."""
    if WHOLE:
        return list(kinds)
    return random.Random(seed).sample([one for one in kinds if one.name != MINUTES_TO_FIND], count)  # noqa: S311
