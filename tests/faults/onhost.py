"""Runs programs and shell scripts on a rehearsal host, over SSH with the pinned key."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE

PROGRAMS = Path(__file__).with_name("programs")
LIMIT_SECONDS = 120


@dataclass(frozen=True)
class OnHost:
    """A rehearsal host by name. Its address may change from boot to boot."""

    name: str

    def shell(self, script: str, *, check: bool = True) -> str:
        """Standard output of a shell script that root runs there; fails with what it said, unless ``check`` is off."""
        return self._run(["sh", "-eu"], script, check)

    def program(self, name: str, question: Any = None) -> Any:
        """The JSON answer of programs/NAME.py, run there with ``question`` in its first argument."""
        source = (PROGRAMS / f"{name}.py").read_text()
        # Data comes before code on the same standard input: no quoting, no limit on its length.
        head = f"QUESTION = {json.dumps(question)!r}\n"
        return json.loads(self._run(["python3", "-I", "-"], head + source, check=True))

    def _run(self, command: list[str], stdin: str, check: bool) -> str:
        ssh = host.load(STATE, self.name).ssh("root")
        done = subprocess.run(
            [*ssh, *command], input=stdin, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done.stdout
