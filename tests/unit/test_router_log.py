"""Users' requests as the guard counts them, from a journal that is a file."""

import json
import os
from pathlib import Path

import pytest

from tandem.hostside.router_log import RouterLog
from tests.unit.serving import program


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each look takes all that is in it."""
    log = tmp_path / "log"
    log.touch()
    program(tmp_path / "bin", "journalctl", f"cat {log}; : >{log}; echo '-- cursor: 1'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return log


def asked(slot: str, status: int) -> str:
    entry = {"method": "POST", "route": "/v1/chat/completions", "slot": slot, "upstream_status": str(status)}
    return json.dumps({**entry, "upstream_seconds": "0.1"}) + "\n"


def test_what_is_skipped_is_not_counted_and_what_was_counted_stays(journal: Path) -> None:
    log = RouterLog()
    journal.write_text(asked("green", 200) + asked("green", 502))
    log.read()
    journal.write_text(asked("green", 502) * 8)
    log.skip()
    log.read()
    assert (log.of("green").requests, log.of("green").failures) == (2, 1)
    journal.write_text(asked("green", 200))
    log.read()
    assert (log.of("green").requests, log.of("green").failures) == (3, 1)
