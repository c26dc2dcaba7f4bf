"""The file of a backup: a tar stream through age. Runs on the host, as root.

What is read is believed only when all of it has been decrypted and every file is what the manifest says. That proves
that nothing was damaged, not who wrote it: whoever has the public key can encrypt to it.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tandem.domain.backup import MANIFEST, Entry, Manifest, Spoilt, checked_name, from_record, to_record
from tandem.domain.refused import Refused
from tandem.hostside.files import sync_directory

AGE: Final = "age"
MAGIC: Final = b"age-encryption.org/v1\n"
MOST_MANIFEST_BYTES: Final = 64 << 20
CHUNK: Final = 1 << 20


class NotSealed(Exception):
    """There is no archive, and nothing half done stays. The text says why."""


@dataclass(frozen=True)
class Sealed:
    """The finished file: its size in bytes and its SHA-256."""

    size: int
    sha256: str


def describe(path: Path) -> Entry:
    """What the manifest says of a file that is about to be sealed."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = os.fstat(file.fileno())
    return Entry(found.st_size, digest, f"{found.st_mode & 0o777:04o}")


def seal(manifest: Manifest, sources: Mapping[str, Path], recipients: Sequence[str], target: Path) -> Sealed:
    """Write the archive of ``sources`` (path by name in the archive) to ``target``, encrypted to ``recipients``.

    ``target`` is the whole archive or is not there. Raises NotSealed, or OSError with the path.
    """
    if not shutil.which(AGE):
        raise NotSealed("age is not installed: run install again, or apt-get install age")
    try:
        if len(_text(manifest)) > MOST_MANIFEST_BYTES:
            raise Spoilt(f"it has too many files ({len(manifest.files)})")
        from_record(json.loads(_text(manifest)))
    except Spoilt as problem:
        raise NotSealed(f"a backup of this could not be restored: {problem}") from None
    temporary = target.with_name(f".{target.name}.sealing")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            _encrypt(manifest, sources, recipients, file)
            file.flush()
            os.fsync(descriptor)
            file.seek(0)
            if file.read(len(MAGIC)) != MAGIC:
                raise NotSealed("age wrote a file without its header")
            file.seek(0)
            sealed = Sealed(os.fstat(descriptor).st_size, hashlib.file_digest(file, "sha256").hexdigest())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)
    return sealed


def checksum(path: Path) -> str:
    """The SHA-256 of a file, after a look at its header. Raises Refused for what is no backup."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Refused(f"{path} is no backup: it does not begin as age files do. Nothing was changed.")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def unseal(archive: Path, identity: str, folder: Path) -> Manifest:
    """Take the archive out to ``folder``, a new one that only root can enter.

    ``identity``: the text of a key file of age. Every file gets mode 0600 and root as its owner. Raises Refused; what
    is in ``folder`` then is worth nothing and is the caller's to remove. OSError (with the path) when there is no room.
    """
    if not shutil.which(AGE):
        raise Refused("age is not installed here. Nothing was changed. Run install again, then try again.")
    with tempfile.TemporaryFile() as said, _in_memory(identity) as key:
        reading, writing = os.pipe()
        command = [AGE, "--decrypt", "--identity", "-", str(archive)]
        try:
            process = subprocess.Popen(command, stdin=key, stdout=writing, stderr=said)
        finally:
            os.close(writing)
        with process, os.fdopen(reading, "rb") as stream:
            manifest, problem = _take_out(stream, folder)
        status = process.returncode
        lines = _lines(said)
    # One that was left in the middle ends by a signal, because nobody reads any more.
    if status and (manifest is not None or status > 0):
        raise Refused(f"{archive} can't be decrypted: {_reason(lines)}. Nothing was changed.")
    if manifest is None:
        raise Refused(f"{archive} was left aside: {problem}. Nothing was changed.")
    return manifest


def _in_memory(text: str) -> IO[bytes]:
    """A file that never gets to a disk."""
    file = os.fdopen(os.memfd_create("identity", os.MFD_CLOEXEC), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def _lines(said: IO[bytes]) -> list[str]:
    said.seek(0)
    return said.read().decode(errors="replace").strip().splitlines()


def _reason(lines: Sequence[str]) -> str:
    """What age says of a problem; never what it read."""
    errors = [line.removeprefix("age: error: ") for line in lines if line.startswith("age: error: ")]
    if any("no identity matched" in line for line in errors):
        return "this identity is not one of those that it was encrypted to"
    if any("identity" in line or "identities" in line or "secret" in line for line in errors):
        return "the identity is no private key of age (AGE-SECRET-KEY-1...)"
    return errors[0] if errors else "age said nothing"


def _take_out(stream: IO[bytes], folder: Path) -> tuple[Manifest | None, str]:
    """The manifest once every file that it names is there and right; else the problem."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            members = iter(tar)
            manifest = _manifest(tar, next(members, None))
            left = dict(manifest.files)
            for member in members:
                entry = left.pop(checked_name(member.name), None)
                # A sparse one is a few bytes here and would fill the disk there; ours are never sparse.
                if entry is None or not member.isreg() or member.issparse():
                    raise Spoilt(f"{member.name} is not in its manifest, or twice, or no plain file")
                _write(tar, member, entry, folder / member.name)
        # To the end, so that age has checked the last piece as well.
        while stream.read(CHUNK):
            pass
    except Spoilt as problem:
        return None, str(problem)
    except (tarfile.TarError, EOFError) as problem:
        return None, f"it is damaged ({problem})"
    if left:
        return None, f"{next(iter(left))} is missing in it"
    return manifest, ""


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> Manifest:
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MOST_MANIFEST_BYTES:
        raise Spoilt("it does not begin with a manifest")
    source = tar.extractfile(member)
    try:
        return from_record(json.loads(source.read() if source else b""))
    except ValueError:
        raise Spoilt("its manifest is no manifest") from None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None or member.size != entry.size:
        raise Spoilt(f"{member.name} has another size than its manifest says")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while piece := source.read(CHUNK):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(descriptor)
    if digest.hexdigest() != entry.sha256:
        raise Spoilt(f"{member.name} is not what its manifest says")


def _encrypt(manifest: Manifest, sources: Mapping[str, Path], recipients: Sequence[str], target: IO[bytes]) -> None:
    command = [AGE, "--encrypt", *(word for one in recipients for word in ("--recipient", one))]
    with tempfile.TemporaryFile() as said:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            try:
                process = subprocess.Popen(command, stdin=reading, stdout=target, stderr=said)
            finally:
                os.close(reading)
            with process:
                try:
                    _add_all(manifest, sources, pipe)
                    pipe.close()
                except BrokenPipeError:
                    pass  # age has ended, and says why
                except BaseException:
                    process.kill()
                    raise
        lines = _lines(said)
    if process.returncode:
        reason = lines[0].removeprefix("age: error: ") if lines else f"exit status {process.returncode}"
        raise NotSealed(f"age failed: {reason}")


def _add_all(manifest: Manifest, sources: Mapping[str, Path], pipe: IO[bytes]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        text = _text(manifest)
        tar.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
        for name, entry in manifest.files.items():
            with sources[name].open("rb") as file:
                if os.fstat(file.fileno()).st_size != entry.size:
                    raise NotSealed(f"{sources[name]} changed meanwhile")
                tar.addfile(_member(name, entry.size), file)


def _text(manifest: Manifest) -> bytes:
    return json.dumps(to_record(manifest)).encode()


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member
