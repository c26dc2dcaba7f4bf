"""The run record and the final summary of a deploy.

``journal.start("install")`` at the top of a deploy file writes ``runs/<UTC time>-install.jsonl`` event by event and, in
whatever way the process ends, says last on standard error what changed, what failed and what to do next. The record
holds names and numbers, never arguments or input of operations; of failed ones also the last lines of output, in which
every text in ``mask`` is hidden.
"""

from __future__ import annotations

import atexit
import platform
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyinfra
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State, StateStage

from tandem import connection
from tandem.interruption import current_state, exit_nonzero_on_signals, interruption
from tandem.runrecord import Record
from tandem.summary import Ending, Failure, Outcome, Tally, hide, outcome, public_argv, summary

RUNS_FOLDER = "runs"
mask: set[str] = set()
"""Secrets known to this process; callers add to it before an operation could print one."""

_journal: Journal | None = None


def start(name: str) -> Journal:
    """The journal of this run, made at the first call (a deploy file runs once per host); ``name`` of the deploy.

    DeployError when the record cannot be written: nothing has been touched then.
    """
    global _journal
    state = current_state()
    if state is None:
        raise DeployError("journal.start() belongs in a deploy file that pyinfra runs; there is no run here.")
    if _journal is None or _journal.state is not state:
        _journal = Journal(state, name)
        state.add_callback_handler(_Hooks(_journal))
        exit_nonzero_on_signals()
        atexit.register(_journal.close)
    return _journal


def note(host: Host, sentence: str) -> None:
    """Report a change of the operation that runs on ``host`` now, for the summary; while planning, a change to come."""
    if _journal is not None:
        _journal.note(host, sentence)


def remark(host: Host, sentence: str) -> None:
    """Tell the operator something about ``host`` that is no change: the summary says it, once, also while planning."""
    if _journal is not None:
        _journal.remark(host, sentence)


def commands(host: Host) -> int:
    """Shell commands sent to ``host`` since the journal started, those of facts included; 0 without a journal."""
    return _journal.meters[host.name].commands if _journal is not None else 0


@dataclass
class Running:
    """An operation in progress, or one that succeeded and whose change pyinfra has not recorded yet."""

    op_hash: str
    began: float
    commands: int
    seconds: float = 0.0


class _Hooks(BaseStateCallback):
    """pyinfra declares its hooks as static methods; these are the bound ones of a journal."""

    def __init__(self, journal: Journal) -> None:
        for name in _HOOKS:
            setattr(self, name, getattr(journal, name))


_HOOKS = ("operation_host_start", "operation_host_success", "operation_host_error", "operation_end", "host_disconnect")


class Journal:
    """What happened in one run of pyinfra, per host. Made by ``start``."""

    def __init__(self, state: State, name: str) -> None:
        self.state, self.name, self.began = state, name, time.monotonic()
        self.record = Record(Path(state.cwd or ".") / RUNS_FOLDER, name, mask)
        hosts = [host for host in state.inventory if host in state.activated_hosts]
        self.meters = {host.name: connection.measure(host, mask) for host in hosts}
        self.tallies = {host.name: Tally(host.name) for host in hosts}
        self.running: dict[str, list[Running]] = {host.name: [] for host in hosts}
        self.succeeded: dict[str, Running] = {}
        self.said = connection.Said()
        self.result: Outcome | None = None
        pyinfra.logger.addHandler(self.said)
        versions = {"tandem": _version("tandem"), "pyinfra": _version("pyinfra"), "python": platform.python_version()}
        self.record.write(
            "start", name=name, argv=public_argv(sys.argv), versions=versions, hosts=[host.name for host in hosts]
        )

    def commands(self, host: Host) -> int:
        """Shell commands sent to ``host`` since the start."""
        return self.meters[host.name].commands

    def note(self, host: Host, sentence: str) -> None:
        """See the function ``note``."""
        if not self.state.is_executing:
            self.tallies[host.name].planned.append(hide(sentence, mask))
        elif self.running[host.name]:
            operation = self._name(self.running[host.name][-1].op_hash)
            self.tallies[host.name].notes.setdefault(operation, []).append(hide(sentence, mask))
            self.record.write("note", host=host.name, operation=operation, sentence=sentence)

    def remark(self, host: Host, sentence: str) -> None:
        """See the function ``remark``."""
        remarks = self.tallies[host.name].remarks
        if sentence not in remarks:
            remarks.append(sentence)
            self.record.write("remark", host=host.name, sentence=sentence)

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:
        self._settle(host)
        if op_hash in state.ops[host]:
            meter = self.meters[host.name]
            self.running[host.name].append(Running(op_hash, time.monotonic(), meter.commands))
            meter.failed_lines, meter.problem = [], None
            self.said.lines.clear()
            self.record.write("operation_start", host=host.name, operation=self._name(op_hash))

    def operation_host_success(self, state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:
        self._settle(host)
        operation = self.running[host.name].pop()
        operation.seconds = time.monotonic() - operation.began
        self.succeeded[host.name] = operation
        # An operation that caught the failure of one that it started has answered for it.
        tally = self.tallies[host.name]
        tally.failures = [failure for failure in tally.failures if failure.parent != op_hash]

    def operation_host_error(
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        self._settle(host)
        operation = self.running[host.name].pop()
        operation.seconds = time.monotonic() - operation.began
        data = state.get_op_data_for_host(host, op_hash)
        lines = self._last_lines(host)
        ignored = bool(data.global_arguments["_ignore_errors"])
        self._write_operation(host, operation, "ignored" if ignored else "failed", output=lines)
        if ignored:
            self.tallies[host.name].ignored.append(self._name(op_hash))
            return
        self.tallies[host.name].failures.append(Failure(self._name(op_hash), lines, data.parent_op_hash))
        if data.parent_op_hash is None:
            # With --no-wait pyinfra forgets that the host failed and would end with status 0.
            state.failed_hosts.add(host)

    def operation_end(self, state: State, op_hash: str) -> None:
        for host in state.inventory:
            self._settle(host)

    def host_disconnect(self, state: State, host: Host) -> None:
        self._settle(host)
        self.record.write("disconnect", host=host.name)

    def _settle(self, host: Host) -> None:
        """Record the success seen last: pyinfra knows only after the success hook whether it was a change."""
        operation = self.succeeded.pop(host.name, None)
        if operation is None:
            return
        meta = self.state.get_op_data_for_host(host, operation.op_hash).operation_meta
        changed = not meta.is_complete() or meta.did_change()
        if changed:
            self.tallies[host.name].changed.append(self._name(operation.op_hash))
        else:
            self.tallies[host.name].unchanged += 1
        self._write_operation(host, operation, "changed" if changed else "unchanged")

    def _write_operation(self, host: Host, operation: Running, result: str, **more: Any) -> None:
        self.record.write(
            "operation",
            host=host.name,
            operation=self._name(operation.op_hash),
            result=result,
            seconds=round(operation.seconds, 3),
            commands=self.meters[host.name].commands - operation.commands,
            **more,
        )

    def _name(self, op_hash: str) -> str:
        return hide(", ".join(sorted(self.state.get_op_meta(op_hash).names)), mask)

    def _last_lines(self, host: Host) -> list[str]:
        """The tail of what failed on ``host``: a command's output, else pyinfra's complaints; secrets hidden."""
        meter = self.meters[host.name]
        lines = meter.failed_lines
        if not lines:
            lines = [line for line in self.said.lines if not line.startswith("[") or line.startswith(f"[{host.name}]")]
        cause = [meter.problem] if meter.problem and meter.problem not in lines else []
        if meter.problem and meter.commands == meter.failed_commands:
            cause.append(connection.NOTHING_CHANGED)
        return [hide(line, mask) for line in [*lines[-connection.TAIL_LINES :], *cause]]

    def close(self) -> Outcome:
        """Write the end of the record and print the summary, once; also called when the process ends."""
        if self.result is not None:
            return self.result
        ending = self._ending()
        for host in self.state.inventory:
            if host.name in self.tallies:
                self._conclude(host, ending)
        tallies = list(self.tallies.values())
        self.result = outcome(ending, tallies)
        seconds = time.monotonic() - self.began
        self._write_end(ending, tallies, seconds)
        text = summary(self.name, self.result, tallies, ending, seconds, f"{RUNS_FOLDER}/{self.record.path.name}")
        with suppress(OSError):  # the terminal may be gone; the record has it all
            print(f"\n{text}", file=sys.stderr, flush=True)
        pyinfra.logger.removeHandler(self.said)
        return self.result

    def _ending(self) -> Ending:
        stage, options = self.state.current_stage, set(sys.argv[1:])
        planned = "--dry" in options or ("--json" in options and self.state.check_for_changes)
        return Ending(
            prepared_only=not self.state.is_executing,
            finished=stage >= StateStage.Disconnect or (not pyinfra.is_cli and self.state.is_executing),
            planning=planned,
            interrupted=interruption.signal_number is not None,
            error=hide(self.said.error, mask) if self.said.error else None,
        )

    def _conclude(self, host: Host, ending: Ending) -> None:
        self._settle(host)
        tally, running = self.tallies[host.name], self.running[host.name]
        tally.commands, tally.transfers = self.meters[host.name].commands, self.meters[host.name].transfers
        tally.host_failed = host in self.state.failed_hosts
        tally.running = [self._name(operation.op_hash) for operation in running]
        stopped_here = tally.host_failed or (len(self.tallies) == 1 and not ending.finished)
        if running and stopped_here and not ending.interrupted:
            # An operation that raised: pyinfra ends without its error hook.
            tally.failures.append(Failure(tally.running.pop(), self._last_lines(host)))
        elif tally.host_failed and not tally.failures:
            tally.failures.append(Failure("reading the state of the host", self._last_lines(host)))
        operations = self.state.ops[host].values()
        known = len(tally.changed) + tally.unchanged + len(tally.ignored) + len(tally.failures) + len(tally.running)
        tally.not_reached = max(0, len(operations) - known)
        if self.state.check_for_changes:
            meta = self.state.get_meta_for_host(host)
            tally.planned_changes, tally.planned_unchanged = meta.ops_change, meta.ops_no_change

    def _write_end(self, ending: Ending, tallies: list[Tally], seconds: float) -> None:
        number = interruption.signal_number
        self.record.write(
            "end",
            outcome=self.result,
            signal=signal.Signals(number).name if number else None,
            error=ending.error if self.result == "failed" else None,
            seconds=round(seconds, 3),
            commands=sum(tally.commands for tally in tallies),
            transfers=sum(tally.transfers for tally in tallies),
            unchanged=sum(tally.unchanged for tally in tallies),
            changed=[{"host": tally.host, "operation": name} for tally in tallies for name in tally.changed],
            failed=[{"host": tally.host, "operation": f.operation} for tally in tallies for f in tally.failures],
            cut_short=[{"host": tally.host, "operation": name} for tally in tallies for name in tally.running],
        )
        self.record.close()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
