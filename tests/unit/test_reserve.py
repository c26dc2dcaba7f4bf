"""Room that is kept for going back, on a small file system that is really full."""

import errno
import os
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from tandem.domain.rollout import Slot, State, Webui
from tandem.hostside import reserve
from tandem.hostside import state as record
from tandem.hostside.paths import Paths

BLUE = Slot("a", "a" * 16, (18100,), 100, (18100,))
SERVING = State(serving="blue", slots={"blue": BLUE}, webui=Webui("blue", 18300))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Paths]:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    paths = Paths(tmp_path)
    paths.state.parent.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(paths.state.parent)], check=True)
    yield paths
    subprocess.run(["umount", str(paths.state.parent)], check=True)


def fill(paths: Paths) -> None:
    with open(paths.state.parent / "filler", "wb", buffering=0) as filler:
        while write(filler):
            pass
    assert reserve.free_bytes(paths.state.parent) == 0


def write(filler: FileIO) -> bool:
    """Whether there was room."""
    try:
        return filler.write(b"x" * 4096) == 4096
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


def test_a_full_disk_still_lets_a_rollout_be_undone(small: Paths) -> None:
    reserve.lay_in(small)
    reserve.lay_in(small)
    assert small.reserve.stat().st_size == reserve.RESERVED_BYTES
    fill(small)
    with record.recorded(small, "rollback", "maria", SERVING, SERVING):
        record.save(small.state, SERVING)
    assert record.load(small.state) == SERVING
    assert not small.reserve.exists()


def test_without_the_reserve_nothing_could_be_recorded(small: Paths) -> None:
    fill(small)
    with pytest.raises(OSError, match="No space left"), record.recorded(small, "rollback", "m", SERVING, SERVING):
        record.save(small.state, SERVING)


def test_the_reserve_is_not_laid_in_where_there_is_little_room(small: Paths) -> None:
    with open(small.state.parent / "filler", "wb") as filler:
        filler.write(b"x" * (30 << 20))
    reserve.lay_in(small)
    assert not small.reserve.exists()
