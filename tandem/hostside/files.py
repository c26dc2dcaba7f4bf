"""Writing files so that a reader, or a power cut, sees the old content or the new one, never half of either."""

import os
import secrets
from pathlib import Path


def write_atomic(path: Path, text: str, mode: str = "0644", uid: int = 0, gid: int = 0) -> None:
    """Replace ``path`` by a file with this text (UTF-8), mode (four octal digits) and owner (numeric ids).

    The new file has its mode and owner before it has content, so others never get to read a secret.
    Raises OSError (with the path) and leaves the old file untouched if anything fails.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), int(mode, 8))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def append_line(path: Path, line: str, mode: str = "0600") -> None:
    """Append one line and wait until it is on disk; the file is made with ``mode`` if it is missing.

    A last line that a power cut left without its end is ended first, so that it spoils only itself.
    """
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, int(mode, 8))
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        _append(descriptor, (("\n" if torn else "") + line + "\n").encode(), size)
    finally:
        os.close(descriptor)
    if new:
        sync_directory(path.parent)


def _append(descriptor: int, data: bytes, size: int) -> None:
    """All of ``data`` after the first ``size`` bytes, or nothing: a full disk takes the beginning of a line."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def sync_directory(path: Path | str) -> None:
    """Wait until renames and new names in this folder are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
