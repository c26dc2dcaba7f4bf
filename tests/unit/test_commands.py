"""Programs that travel to the host as an argument: they run there alone, with what they import of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tandem import commands

LONGEST_ARGUMENT_BYTES = 131_072
"""What Linux takes as one argument (MAX_ARG_STRLEN)."""

INSTALLED = {"gpuctl", "tandemctl"}
"""These run from their folder on the host, not by argument."""

PROGRAMS = sorted(
    {path.stem for path in commands.HOSTSIDE.glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    - INSTALLED
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_fits_into_one_argument(name: str) -> None:
    assert len(commands.program_source(name).encode()) < LONGEST_ARGUMENT_BYTES * 0.75


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_finds_all_its_modules_without_the_package(name: str) -> None:
    source = commands.program_source(name).replace("__main__", "imported only")
    # -I: neither this folder nor the environment is on the path, as on a host that has no Tandem.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")


def test_modules_come_in_the_order_in_which_they_need_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostside").mkdir()
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain/words.py").write_text("GREETING = 'hello'\n")
    (tmp_path / "hostside/saying.py").write_text("from tandem.domain.words import GREETING\nSAID = GREETING.upper()\n")
    (tmp_path / "hostside/program.py").write_text(
        "import json, sys\nfrom tandem.hostside.saying import SAID\n"
        "if __name__ == '__main__':\n    print(json.dumps([SAID, json.loads(sys.argv[1])]))\n"
    )
    monkeypatch.setattr(commands, "PACKAGE", tmp_path)
    monkeypatch.setattr(commands, "HOSTSIDE", tmp_path / "hostside")
    program = commands.program_source("program")
    said = subprocess.run([sys.executable, "-I", "-c", program, '{"a": 1}'], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == ["HELLO", {"a": 1}]


@pytest.mark.parametrize(("ends", "said"), [(0, "new"), (2, "{}"), (3, None)])
def test_an_older_tandemctl_that_does_not_know_an_order_knows_nothing(
    ends: int, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctl = tmp_path / "tandemctl"
    monkeypatch.setattr(commands, "TANDEMCTL", str(ctl))
    command = str(commands.if_understood(commands.tandemctl("secrets", "list")))
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == "{}\n"
    ctl.write_text(f"#!/bin/sh\n[ {ends} -eq 0 ] && echo new\nexit {ends}\n")
    ctl.chmod(0o755)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout.strip() or None, done.returncode) == (said, ends if said is None else 0)
