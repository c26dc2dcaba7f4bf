"""Consistent copies of Open WebUI's database and data while they are in use. Runs on the host, as root.

Root opens nothing that Open WebUI could have put in its place: databases are copied by a process with their owner's
rights, other files are opened without following links. The folders above a target must let that owner pass (o+x).
"""

import errno
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tandem.hostside.files import sync_directory

PROGRAM: Final = "copy_database.py"
ASK_PROGRAM: Final = "ask_database.py"
SYSTEM_PYTHON: Final = "/usr/bin/python3"
STEP_SECONDS: Final = 20.0
TIMEOUT_SECONDS: Final = 1800.0
HEADER: Final = b"SQLite format 3\0"
COMPANIONS: Final = ("-wal", "-shm", "-journal")
LEFT_OUT: Final = ("cache/audio", "cache/embedding", "cache/tiktoken", "cache/whisper")
"""Downloaded models, and speech that is made again when asked for. The rest of cache/ may hold people's pictures."""


class NotCopied(Exception):
    """There is no copy; the source is as it was and nothing half done stays. The text names the path and the reason."""


@dataclass(frozen=True)
class Copied:
    """``size`` in bytes; ``left_out``: what was no plain file, relative to the source."""

    files: int
    size: int
    left_out: tuple[str, ...]


def snapshot(source: Path, target: Path, *, step_seconds: float = STEP_SECONDS) -> None:
    """Make ``target`` a checked copy of the SQLite database ``source``, mode 0600, of the same owner.

    Others may write to ``source`` meanwhile. ``target`` is the old one or the new one, never half of either.
    Raises NotCopied, or OSError with the path.
    """
    found = source.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise NotCopied(f"{source} is no plain file. Nothing was copied.")
    with _scratch(target, found.st_uid, found.st_gid) as folder:
        copy = folder / "copy"
        _run(source, PROGRAM, [str(copy.absolute()), str(step_seconds)], "", "could not be copied")
        descriptor = os.open(copy, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, 0o600)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        copy.rename(target)
    sync_directory(target.parent)


def copy_data(webui_data: Path, target: Path) -> Copied:
    """Make ``target`` a copy of Open WebUI's data directory: databases by ``snapshot``, first, then the other files.

    Whatever a row of the database names is a file already. ``target`` must be missing or empty; owners and modes are
    kept. Raises NotCopied, or OSError with the path.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise NotCopied(f"{target} is there already. Nothing was copied. Move it aside, then try again.")
    root = webui_data.lstat()
    if not stat.S_ISDIR(root.st_mode):
        raise NotCopied(f"{webui_data} is no directory. Nothing was copied.")
    with _scratch(target, root.st_uid, root.st_gid) as folder:
        # Closed until it is whole: the databases' owner passes through it, by number, to write its copies.
        databases, others, left_out = _listed(webui_data)
        for name in databases:
            _folders(webui_data, folder, Path(name).parent)
            snapshot(webui_data / name, folder / name)
        size = sum((folder / name).stat().st_size for name in databases)
        files = len(databases)
        for name in others:
            _folders(webui_data, folder, Path(name).parent)
            copied = _copy_file(webui_data, name, folder / name)
            if copied is None:
                left_out.append(name)
            else:
                files, size = files + 1, size + copied
        _folders(webui_data, folder, Path())
        folder.rename(target)
    sync_directory(target.parent)
    return Copied(files, size, tuple(sorted(left_out)))


@contextmanager
def _scratch(target: Path, uid: int, gid: int) -> Iterator[Path]:
    """An empty folder of that owner beside ``target``, removed afterwards, as is what an earlier call left behind."""
    for left in target.parent.glob(f".{target.name}.*.copying"):
        shutil.rmtree(left, ignore_errors=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.copying")
    folder.mkdir(mode=0o700)
    try:
        os.chown(folder, uid, gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(database: Path, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[list[Any]]]:
    """The rows of each statement, run in one transaction with the database owner's rights.

    Values never show in a process list. Raises NotCopied (nothing was changed), or OSError with the path.
    """
    output = _run(database, ASK_PROGRAM, [], json.dumps(statements), "could not be read")
    found: list[list[list[Any]]] = json.loads(output)
    return found


def count(database: Path, tables: Sequence[str]) -> dict[str, int]:
    """{table: its rows}; 0 for a table that is not there. Raises NotCopied, or OSError with the path."""
    known = "SELECT name FROM sqlite_master WHERE type = 'table'"
    there = {row[0] for row in ask(database, [(known, [])])[0]} & set(tables)
    # The names are those of our code, and tables that exist.
    rows = ask(database, [(f'SELECT count(*) FROM "{name}"', []) for name in sorted(there)])  # noqa: S608
    found = {name: int(found[0][0]) for name, found in zip(sorted(there), rows, strict=True)}
    return {name: found.get(name, 0) for name in tables}


def _run(database: Path, program: str, words: Sequence[str], stdin: str, problem: str) -> str:
    """What a program of ours prints that opens ``database`` with the rights of whoever owns it."""
    owner = database.lstat()
    if not stat.S_ISREG(owner.st_mode):
        raise NotCopied(f"{database} is no plain file. It was left as it is.")
    text = Path(__file__).with_name(program).read_text(encoding="utf-8")
    drop = os.geteuid() == 0 and owner.st_uid != 0
    # The Python of root's own environment may be closed to others.
    python = SYSTEM_PYTHON if drop else sys.executable
    try:
        done = subprocess.run(
            [python, "-I", "-c", text, str(database.absolute()), *words],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            timeout=TIMEOUT_SECONDS,
            check=False,
            user=owner.st_uid if drop else None,
            group=owner.st_gid if drop else None,
            extra_groups=[] if drop else None,
        )
    except subprocess.TimeoutExpired:
        raise NotCopied(f"{database} {problem} in {TIMEOUT_SECONDS / 60:.0f} minutes. It is as it was.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}"]
        raise NotCopied(f"{database} {problem}: {said[0]}. It is as it was.")
    return done.stdout


def _listed(top: Path) -> tuple[list[str], list[str], list[str]]:
    """The databases, the other files, and what is neither file nor folder, relative to ``top``."""
    databases: list[str] = []
    others: list[str] = []
    left_out: list[str] = []
    for at, folders, names, descriptor in os.fwalk(top, follow_symlinks=False):
        below = Path(at).relative_to(top)
        folders[:] = sorted(name for name in folders if str(below / name) not in LEFT_OUT)
        for name in [*folders, *names]:
            mode = _mode(name, descriptor)
            if stat.S_ISREG(mode):
                (databases if _is_database(name, descriptor) else others).append(str(below / name))
            elif mode and not stat.S_ISDIR(mode):
                left_out.append(str(below / name))
    companions = {f"{name}{end}" for name in databases for end in COMPANIONS}
    return sorted(databases), sorted(set(others) - companions), left_out


def _mode(name: str, descriptor: int) -> int:
    """0 for a name that is gone."""
    try:
        return os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _is_database(name: str, descriptor: int) -> bool:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except OSError:
        return False
    try:
        return os.read(file, len(HEADER)) == HEADER
    finally:
        os.close(file)


def _folders(source: Path, target: Path, name: Path) -> None:
    """Make the folders of ``name`` below ``target`` with the owners and modes that they have below ``source``."""
    for part in (*reversed(name.parents), name):
        here = target / part
        found = (source / part).lstat()
        if not here.exists():
            here.mkdir(mode=0o700)
        os.chmod(here, stat.S_IMODE(found.st_mode))
        os.chown(here, found.st_uid, found.st_gid)


def _copy_file(top: Path, name: str, target: Path) -> int | None:
    """Bytes copied; None for what is gone or no plain file any more."""
    descriptor = _opened(top, name)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        with target.open("xb") as copy:
            os.fchmod(copy.fileno(), stat.S_IMODE(found.st_mode) & 0o777)
            os.fchown(copy.fileno(), found.st_uid, found.st_gid)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            size = copy.tell()
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        return size


def _opened(top: Path, name: str) -> int | None:
    """A file below ``top``, opened without following a link anywhere on the way; None if that can't be."""
    *folders, last = Path(name).parts
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            return None
        raise
    finally:
        os.close(here)
