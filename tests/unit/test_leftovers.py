"""Files that a killed writer left, in folders of a host."""

import os
import time
from pathlib import Path

import pytest

from tandem.hostside import leftovers, reserve, sight
from tandem.hostside.files import write_atomic
from tandem.hostside.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for folder in (paths.split, paths.parked, paths.guard_sight.parent, paths.secrets):
        folder.mkdir(parents=True)
    return paths


def left(path: Path, seconds_ago: float = 3600) -> Path:
    path.write_text("half")
    moment = time.time() - seconds_ago
    os.utime(path, (moment, moment))
    return path


def cut(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``write_atomic`` leaves when its process is killed before the rename."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: None)
        write_atomic(path, "half", uid=os.geteuid(), gid=os.getegid())
    (found,) = path.parent.glob(f".{path.name}.*")
    return left(found)


def test_what_our_writers_left_is_removed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [paths.state, paths.starts, paths.split / "engine.conf", paths.parked / "vllm-blue-0"]
    found = [cut(path, monkeypatch) for path in wanted]
    found += [left(paths.guard_sight.with_name(".guard.json.new")), left(paths.reserve.with_name(".reserve.new"))]
    assert leftovers.remove(paths) == sorted(found, key=lambda path: (path.parent, path.name))
    assert not any(path.exists() for path in found)
    assert leftovers.remove(paths) == []


def test_the_names_of_writers_that_have_one_of_their_own_are_known(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: None)
        sight.write_sight({}, paths)
        reserve.lay_in(paths)
    names = {path for folder in (paths.guard_sight.parent, paths.state.parent) for path in folder.glob(".*")}
    assert len(names) == 2
    for path in names:
        left(path)
    assert set(leftovers.remove(paths)) == names


def test_what_may_be_anybody_elses_or_is_being_written_stays(paths: Paths, tmp_path: Path) -> None:
    folder = paths.state.parent
    stays = [left(folder / ".state.json.0a1b2c3d.new", 30)]
    stays += [left(folder / name) for name in ("state.json", "x.new", ".mine.new", ".state.json.XYZ.new")]
    stays += [left(paths.secrets / ".upstream_key.0a1b2c3d.new"), left(tmp_path / ".a.0a1b2c3d.new")]
    target, link = left(tmp_path / "target"), folder / ".link.0a1b2c3d.new"
    link.symlink_to(target)
    os.utime(link, (0, 0), follow_symlinks=False)
    inner = folder / ".folder.0a1b2c3d.new"
    inner.mkdir()
    os.utime(inner, (0, 0))
    assert leftovers.remove(paths) == []
    assert all(path.exists() for path in [*stays, target, link, inner])


def test_folders_that_are_missing_are_no_fault(tmp_path: Path) -> None:
    assert leftovers.remove(Paths(tmp_path)) == []
