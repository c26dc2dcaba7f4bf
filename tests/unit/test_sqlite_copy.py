"""Copies of a database and of a data directory that are in use: real SQLite, real processes."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tandem.hostside import sqlite_copy
from tandem.hostside.sqlite_copy import NotCopied, copy_data, snapshot

# Two rows change together: a copy in which they differ is no moment of the database.
WRITER = """
import sqlite3, sys, time
there = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
there.execute(f"PRAGMA journal_mode={sys.argv[2]}")
number = 0
print("writing", flush=True)
while True:
    number += 1
    there.execute("BEGIN IMMEDIATE")
    there.execute("UPDATE pair SET value = ? WHERE name = 'one'", (number,))
    there.execute("INSERT INTO filler VALUES (?)", ("x" * 200,))
    there.execute("UPDATE pair SET value = ? WHERE name = 'two'", (number,))
    there.execute("COMMIT")
    time.sleep(0.002)
"""


def made(path: Path, rows: int = 20000) -> Path:
    with closing(sqlite3.connect(path)) as there, there:
        there.execute("CREATE TABLE pair (name TEXT, value INTEGER)")
        there.execute("INSERT INTO pair VALUES ('one', 0), ('two', 0)")
        there.execute("CREATE TABLE filler (text TEXT)")
        there.executemany("INSERT INTO filler VALUES (?)", (("x" * 500,) for _ in range(rows)))
    return path


def pair(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as there:
        return [row[0] for row in there.execute("SELECT value FROM pair ORDER BY name")]


@contextmanager
def written(path: Path, mode: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), mode], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == "writing\n"
            yield
        finally:
            writer.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_copy_of_a_database_that_is_being_written_is_one_moment_of_it(tmp_path: Path, mode: str) -> None:
    source = made(tmp_path / "webui.db")
    with written(source, mode):
        time.sleep(0.2)
        for number in range(3):
            target = tmp_path / f"copy{number}"
            snapshot(source, target, step_seconds=0.3)
            one, two = pair(target)
            assert one == two > 0
    assert not list(tmp_path.glob("*.copying"))
    assert not list(tmp_path.glob("copy*-*"))  # one file each, without companions


def test_a_copy_has_its_sources_owner_and_is_readable_by_nobody_else(tmp_path: Path) -> None:
    source = made(tmp_path / "webui.db", 10)
    source.chmod(0o644)
    if os.geteuid() == 0:
        tmp_path.chmod(0o711)
        for folder in tmp_path.parents:
            if folder.stat().st_mode & 0o001 == 0:
                folder.chmod(folder.stat().st_mode | 0o011)
        data = tmp_path / "data"
        data.mkdir()
        os.chown(data, 59002, 59002)
        source = source.rename(data / "webui.db")
        os.chown(source, 59002, 59002)
    target = tmp_path / "copy"
    snapshot(source, target)
    found = target.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert (found.st_uid, found.st_gid) == (source.stat().st_uid, source.stat().st_gid)


def test_what_a_killed_writer_left_behind_is_in_the_copy_as_in_the_database(tmp_path: Path) -> None:
    source = made(tmp_path / "webui.db")
    with written(source, "WAL"):
        time.sleep(0.3)
    assert (tmp_path / "webui.db-wal").stat().st_size
    snapshot(source, tmp_path / "copy")
    one, two = pair(tmp_path / "copy")
    assert one == two > 0


def test_a_damaged_database_is_not_copied_and_the_old_copy_stays(tmp_path: Path) -> None:
    source = made(tmp_path / "webui.db")
    (tmp_path / "copy").write_text("the old one")
    with source.open("r+b") as file:
        for page in range(10, 200):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    with pytest.raises(NotCopied, match=r"webui\.db could not be copied.*It is as it was"):
        snapshot(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "webui.db"]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("no database, but long enough to be read as one\n" * 200)
    with pytest.raises(NotCopied, match="not a database"):
        snapshot(tmp_path / "other", tmp_path / "copy")
    (tmp_path / "link").symlink_to(made(tmp_path / "webui.db", 1))
    with pytest.raises(NotCopied, match="no plain file"):
        snapshot(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_was_killed_leaves_nothing_behind_after_the_next(tmp_path: Path) -> None:
    source = made(tmp_path / "webui.db")
    program = "import sys; from pathlib import Path; from tandem.hostside.sqlite_copy import snapshot; "
    program += "snapshot(Path(sys.argv[1]), Path(sys.argv[2]))"
    target = tmp_path / "copy"
    with subprocess.Popen([sys.executable, "-c", program, str(source), str(target)], start_new_session=True) as copying:
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob(".copy.*.copying/copy")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(copying.pid, signal.SIGKILL)
    assert not target.exists()
    assert list(tmp_path.glob(".copy.*.copying"))
    snapshot(source, target)
    assert pair(target) == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "webui.db"]


def data(folder: Path) -> Path:
    (folder / "uploads").mkdir(parents=True)
    (folder / "uploads/a.pdf").write_bytes(b"a page")
    (folder / "vector_db/segment").mkdir(parents=True)
    (folder / "vector_db/segment/index.bin").write_bytes(b"numbers")
    for cache in ("cache/embedding/models", "cache/audio/speech", "cache/image/generations"):
        (folder / cache).mkdir(parents=True)
        (folder / cache / "file").write_bytes(b"cached")
    made(folder / "vector_db/chroma.sqlite3", 5)
    made(folder / "webui.db")
    return folder


def test_the_whole_data_directory_is_copied_without_caches_and_links(tmp_path: Path) -> None:
    source = data(tmp_path / "blue")
    (source / "uploads/secret").symlink_to("/etc/hostname")
    os.mkfifo(source / "uploads/pipe")
    (tmp_path / "green").mkdir()
    with written(source / "webui.db", "WAL"):
        time.sleep(0.2)
        copied = copy_data(source, tmp_path / "green")
    there = tmp_path / "green"
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()) == [
        "cache/image/generations/file",
        "uploads/a.pdf",
        "vector_db/chroma.sqlite3",
        "vector_db/segment/index.bin",
        "webui.db",
    ]
    assert copied.left_out == ("uploads/pipe", "uploads/secret")
    assert copied.files == 5
    assert copied.size == sum(path.stat().st_size for path in there.rglob("*") if path.is_file())
    assert stat.S_IMODE(there.stat().st_mode) == stat.S_IMODE(source.stat().st_mode)
    one, two = pair(there / "webui.db")
    assert one == two > 0


def test_a_directory_with_something_in_it_is_never_copied_over(tmp_path: Path) -> None:
    data(tmp_path / "blue")
    (tmp_path / "green").mkdir()
    (tmp_path / "green/webui.db").write_text("chats")
    with pytest.raises(NotCopied, match="is there already"):
        copy_data(tmp_path / "blue", tmp_path / "green")
    assert (tmp_path / "green/webui.db").read_text() == "chats"


def test_a_copy_that_fails_halfway_leaves_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = data(tmp_path / "blue")
    (source / "webui.db").write_bytes(sqlite_copy.HEADER + b"and nothing that could be a database" * 100)
    with pytest.raises(NotCopied):
        copy_data(source, tmp_path / "green")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blue"]
