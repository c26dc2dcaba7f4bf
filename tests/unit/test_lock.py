import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tandem.domain.refused import Refused
from tandem.hostside.lock import LockHeld, holder, lock

HOLD = """
import sys, time
from pathlib import Path
from tandem.hostside.lock import lock
with lock(Path(sys.argv[1]), "tandemctl shift by maria", "shift to 50 %"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_refusal_names_who_holds_the_lock_and_why(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld) as refusal, lock(tmp_path / "lock", "me", "try"):
        pytest.fail("two hold the lock")
    for part in ("tandemctl shift by maria", f"process {other.pid}", "to shift to 50 %", "Nothing was changed"):
        assert part in str(refusal.value)
    assert "maria" in (holder(tmp_path / "lock") or "")


def test_a_killed_holder_never_blocks(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    for _ in range(2):
        with lock(tmp_path / "lock", "me", "try"):
            pass
    assert holder(tmp_path / "lock") is None


def test_waiting_ends_with_the_holder(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    threading.Timer(0.5, other.kill).start()
    started = time.monotonic()
    with lock(tmp_path / "lock", "me", "try", wait_seconds=10):
        assert time.monotonic() - started < 5


def test_a_command_started_under_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    with lock(tmp_path / "lock", "me", "start something"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with lock(tmp_path / "lock", "me", "try"):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_file_or_link_of_another_user_is_no_lock(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "lock").symlink_to(victim)
    with lock(tmp_path / "lock", "me", "try"):
        assert not (tmp_path / "lock").is_symlink()
    assert victim.read_text() == "precious"
    if os.geteuid() == 0:
        os.chown(tmp_path / "lock", 65534, 65534)
        with lock(tmp_path / "lock", "me", "try"):
            assert (tmp_path / "lock").stat().st_uid == 0


def test_a_held_lock_refuses_as_everything_refused_does(tmp_path: Path) -> None:
    assert issubclass(LockHeld, Refused)
    assert holder(tmp_path / "never made") is None
