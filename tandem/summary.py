"""What a run came to, in words: pure, so that every ending can be read in a test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["done", "failed", "interrupted", "planned", "not started"]
SECRET_SHOWN = "***"  # noqa: S105 - what stands in the place of a secret

# Settings given by --data that are never secrets; the values of all others are hidden in the record.
PLAIN_DATA = frozenset(
    {
        *("json", "release", "rotate", "follow", "move", "again", "report", "remove"),
        *("ssh_hostname", "ssh_port", "ssh_user", "ssh_known_hosts_file"),
    }
)
SECRET_OPTIONS = frozenset({"--ssh-password", "--password", "--ssh-key-password", "--key-password"})
AGAIN = "run the same command again: what is done is left alone"


@dataclass
class Failure:
    """An operation that failed on a host, with the last lines it printed."""

    operation: str
    lines: list[str]
    parent: str | None = None


@dataclass
class Tally:
    """What became of one host's operations.

    ``notes`` are sentences of operations about their own changes, ``planned`` those about changes that were only
    planned, ``remarks`` what the operator must know whether or not anything changed.
    """

    host: str
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    ignored: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    not_reached: int = 0
    planned_changes: int | None = None
    planned_unchanged: int = 0
    commands: int = 0
    transfers: int = 0
    host_failed: bool = False

    @property
    def failed(self) -> bool:
        return self.host_failed or bool(self.failures)


@dataclass(frozen=True)
class Ending:
    """How pyinfra ended. ``error`` is the last thing it complained about."""

    prepared_only: bool
    finished: bool
    planning: bool
    interrupted: bool
    error: str | None


def outcome(ending: Ending, tallies: Iterable[Tally]) -> Outcome:
    """Missing evidence is never a success: a run is done only when pyinfra reached its results."""
    if ending.interrupted:
        return "interrupted"
    if any(tally.failed for tally in tallies):
        return "failed"
    if ending.finished:
        return "done"
    if ending.prepared_only and ending.error is None:
        return "planned" if ending.planning else "not started"
    return "failed"


def summary(title: str, result: Outcome, tallies: list[Tally], ending: Ending, seconds: float, record: str) -> str:
    """The operator's last paragraph: one line per host, then what changed, what failed, what next, where it is written.

    The first line of a host that changed as asked reads ``tandem install: gpu1: 3 changed, 9 unchanged, 14 commands,
    3.9 s``.
    """
    lines = [f"tandem {title}: {tally.host}: {_counts(result, tally, ending, seconds)}" for tally in tallies]
    several = len(tallies) > 1
    for tally in tallies:
        prefix = f"{tally.host}: " if several else ""
        if result in ("planned", "not started"):
            lines += [f"  would be: {prefix}{sentence}" for sentence in tally.planned]
        lines += [*_details(tally, prefix), *(f"  note: {prefix}{sentence}" for sentence in tally.remarks)]
    if result == "failed" and not any(tally.failures for tally in tallies) and ending.error:
        lines.append(f"  failed: {ending.error}")
    lines += [f"  next: {sentence}" for sentence in _next(result, ending, tallies)]
    return "\n".join([*lines, f"  record: {record}"])


def _counts(result: Outcome, tally: Tally, ending: Ending, seconds: float) -> str:
    cost = f"{plural(tally.commands, 'command')}, "
    if tally.transfers:
        cost += f"{plural(tally.transfers, 'file transfer')}, "
    cost += f"{seconds:.1f} s"
    if ending.prepared_only:
        head = {"planned": "planned only", "interrupted": "interrupted", "not started": "not confirmed"}.get(result)
        plan = ""
        if tally.planned_changes is not None and result in ("planned", "not started"):
            plan = f"{tally.planned_changes} would change, {tally.planned_unchanged} would not, "
        return f"{head or 'stopped while preparing'}, nothing was changed: {plan}{cost}"
    head = {"failed": "failed: ", "interrupted": "interrupted: "}.get(result, "")
    if result == "failed" and not tally.failed and not tally.not_reached and not tally.running:
        head = ""
    counts = [f"{len(tally.changed)} changed", f"{tally.unchanged} unchanged"]
    for number, word in (
        (len(tally.failures), "failed"),
        (len(tally.ignored), "failed but not needed"),
        (len(tally.running), "cut short"),
        (tally.not_reached, "not reached"),
    ):
        if number:
            counts.append(f"{number} {word}")
    return f"{head}{', '.join(counts)}, {cost}"


def _details(tally: Tally, prefix: str) -> list[str]:
    lines = []
    for operation in tally.changed:
        lines.append(f"  changed: {prefix}{operation}")
        lines += [f"    {sentence}" for sentence in tally.notes.get(operation, [])]
    for operation in tally.running:
        lines.append(f"  cut short: {prefix}{operation}; what it began on the host may still be running there")
    for failure in tally.failures:
        lines.append(f"  failed: {prefix}{failure.operation}")
        lines += [f"    not finished: {sentence}" for sentence in tally.notes.get(failure.operation, [])]
        lines += [f"    | {line}" for line in failure.lines]
    return lines


def _next(result: Outcome, ending: Ending, tallies: list[Tally]) -> list[str]:
    if result == "interrupted":
        return [AGAIN]
    if result == "failed":
        return [f"mend the cause, then {AGAIN}"]
    if result == "planned":
        return ["run the same command without --dry to apply this"]
    if result == "not started":
        return ["run the same command with -y, or in a terminal and confirm with Enter"]
    return []


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def public_argv(argv: list[str]) -> list[str]:
    """The command line without what could be a secret: values of --data (but PLAIN_DATA) and of password options."""
    shown: list[str] = []
    option = ""
    for argument in argv:
        if option in SECRET_OPTIONS:
            argument = SECRET_SHOWN
        elif option == "--data":
            argument = _public_data(argument)
        elif argument.partition("=")[0] in SECRET_OPTIONS and "=" in argument:
            argument = f"{argument.partition('=')[0]}={SECRET_SHOWN}"
        elif argument.startswith("--data="):
            argument = "--data=" + _public_data(argument.removeprefix("--data="))
        takes_value = not option and (argument == "--data" or argument in SECRET_OPTIONS)
        option = argument if takes_value else ""
        shown.append(argument)
    return shown


def _public_data(setting: str) -> str:
    key, _, value = setting.partition("=")
    return f"{key}={value if key in PLAIN_DATA else SECRET_SHOWN}"


def hide(text: str, secrets: Iterable[str]) -> str:
    """``text`` with every secret, and every line of a secret of several lines, replaced. Empty secrets are ignored."""
    parts = {part for secret in secrets for part in (secret, *secret.splitlines()) if part.strip()}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, SECRET_SHOWN)
    return text
