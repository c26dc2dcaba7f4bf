"""Runs the real pyinfra command against a rehearsal host, from a work folder of its own, so that records never mix."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem.rehearsal.inventory import STATE, hosts

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = Path(sys.executable).with_name("pyinfra")
INSTALL = "deploys/install.py"
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Ended:
    """How a run ended. ``events`` is its run record, [] when the run did not get as far as having one."""

    status: int
    output: str
    seconds: float
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """The operations that changed something."""
        return [event["operation"] for event in self._of("operation") if event["result"] == "changed"]

    @property
    def notes(self) -> list[str]:
        """What the operations said about their changes, in order."""
        return [event["sentence"] for event in self._of("note")]

    @property
    def commands(self) -> int:
        """Remote commands, as counted by the run itself."""
        return int(self._of("end")[-1]["commands"])

    def operations(self, event: str = "operation") -> list[str]:
        """The operations by name, in order: those that ended, or with ``operation_start`` those that began."""
        return [found["operation"] for found in self._of(event)]

    def seconds_of_operations(self) -> list[tuple[str, float]]:
        """Each operation by name with its seconds, in order."""
        return [(event["operation"], event["seconds"]) for event in self._of("operation")]

    def _of(self, event: str) -> list[dict[str, Any]]:
        return [found for found in self.events if found["event"] == event]


@dataclass(frozen=True)
class Workplace:
    """A folder that looks like the project to pyinfra, with an inventory for one host and its own run records."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("cases", "config.py", "deploys", "group_data", "prompts", "tests"):
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(ROOT / name)
        (self.folder / "inventories").mkdir(exist_ok=True)

    def inventory(self, name: str, changes: Mapping[str, Any] | None = None) -> str:
        """Writes the inventory of rehearsal host ``name``, with ``changes`` to its data; answers its path."""
        data = {**dict(hosts(STATE))[name], **(changes or {})}
        # The group takes its name from the file: group_data/rehearsal.py belongs to it.
        path = self.folder / "inventories/rehearsal.py"
        path.write_text(f"rehearsal = {[(name, data)]!r}\n")
        return "inventories/rehearsal.py"

    def install(self, name: str, changes: Mapping[str, Any] | None = None, *options: str) -> Ended:
        """One run of deploys/install.py on rehearsal host ``name``."""
        return self.run(self.inventory(name, changes), INSTALL, *options)

    def run(self, *arguments: str) -> Ended:
        """One run of pyinfra with these arguments."""
        return self.start(*arguments).wait()

    def start(self, *arguments: str) -> "Running":
        """Starts pyinfra in a session of its own, without a terminal, its output in a file."""
        before = self.records()
        output = self.folder / f"output-{time.time_ns()}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [str(PYINFRA), "-y", *arguments],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYINFRA_PROGRESS": "off"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(self, process, output, before, time.monotonic())

    def records(self) -> set[Path]:
        return set((self.folder / "runs").glob("*.jsonl"))


@dataclass
class Running:
    """A run of pyinfra in progress."""

    workplace: Workplace
    process: "subprocess.Popen[bytes]"
    output: Path
    before: set[Path]
    began: float

    def events(self) -> list[dict[str, Any]]:
        """The run record so far; a line that is being written is left out."""
        files = self.workplace.records() - self.before
        lines: Sequence[str] = files.pop().read_text().splitlines(keepends=True) if files else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def kill(self) -> Ended:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        return self.wait()

    def wait(self, limit_seconds: float = LIMIT_SECONDS) -> Ended:
        """Until it ends; one that takes longer than ``limit_seconds`` is killed and raises TimeoutExpired."""
        try:
            status = self.process.wait(limit_seconds)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        text = self.output.read_text(errors="replace")
        self.output.unlink()
        return Ended(status, text, round(time.monotonic() - self.began, 1), self.events())
