"""Backups made on the host and fetched from it, and one brought back. Only encrypted files travel."""

import hashlib
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyinfra
from pyinfra import host
from pyinfra.api import FileDownloadCommand, FileUploadCommand, FunctionCommand, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from tandem import journal
from tandem.commands import tandemctl
from tandem.domain.backup import made, size_text
from tandem.operations.live import LiveCommand

Commands: TypeAlias = Generator[PyinfraCommand, None, None]
INCOMING: Final = "/var/lib/tandem/backup/incoming-{}.tar.age"


@operation(is_idempotent=False)
def make() -> Commands:
    """Makes a backup on the host, proves it in a scratch Open WebUI, and removes the expired ones there."""
    journal.note(host, "made a backup")
    yield LiveCommand(tandemctl("backup", "run"))


@operation(is_idempotent=False)
def fetch(directory: str, folder: Path) -> Commands:
    """Copies the newest backup of the host to this machine and compares its checksum.

    + directory: where the host keeps its backups
    + folder: where it goes to here
    """
    incoming = folder / f".{host.name}.incoming"
    said = incoming.with_suffix(".sha256")
    journal.note(host, f"fetched it to {folder}")
    yield FunctionCommand(_make_folder, (folder,), {})
    yield FileDownloadCommand(f"{directory}/latest.sha256", str(said))
    yield FileDownloadCommand(f"{directory}/latest.tar.age", str(incoming))
    yield FunctionCommand(_keep, (incoming, said), {})


@operation(is_idempotent=False)
def restore(archive: Path, identity: Path, words: tuple[str, ...] = ()) -> Commands:
    """Brings a backup back to the host. The key goes by standard input, or does not leave this machine at all.

    + archive: the backup, on this machine
    + identity: the file of the private key that opens it (age)
    + words: further options of ``tandemctl restore``
    """
    here = shutil.which("age") is not None
    # Its own: the host may still be busy with one whose connection was lost.
    token = secrets.token_hex(8)
    incoming = INCOMING.format(token)
    take = ("restore", "--from", incoming, "--remove", *words)
    if here:
        journal.note(host, f"restored {archive.name}; it was opened here, and the identity stayed here")
        sent = _Sent(archive, identity, _Key(tandemctl("restore", "--new-key", token)))
        yield sent.key
        yield FunctionCommand(sent.encrypt, (), {})
        yield _Upload(sent, incoming)
        yield LiveCommand(tandemctl(*take, "--kept-key", token))
        return
    journal.note(host, f"restored {archive.name}; it was opened on the host, which was given the identity")
    yield FileUploadCommand(str(archive), incoming)
    yield _Opening(tandemctl(*take), _stdin=identity.read_text())


class _Opening(LiveCommand):
    """As ``LiveCommand``, with the identity on standard input."""

    def execute(self, state: Any, host: Any, connector_arguments: Any) -> Any:
        return super().execute(state, host, {**connector_arguments, **self.connector_arguments})


class _Key(StringCommand):
    """Asks the host for a key of this restore alone."""

    public = ""

    def execute(self, state: Any, host: Any, connector_arguments: Any) -> Any:
        ok, output = host.run_shell_command(self, **connector_arguments)
        self.public = output.stdout_lines[-1] if ok and output.stdout_lines else ""
        return ok, output


@dataclass
class _Sent:
    """A backup on its way: opened here, and encrypted to the host's key for this restore without touching a disk."""

    archive: Path
    identity: Path
    key: _Key
    folder: "tempfile.TemporaryDirectory[str] | None" = None

    @property
    def file(self) -> Path:
        return Path(self.folder.name if self.folder else "") / "sent.tar.age"

    def encrypt(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="tandem-restore-")
        opening = ["age", "--decrypt", "--identity", str(self.identity), str(self.archive)]
        sealing = ["age", "--encrypt", "--recipient", self.key.public, "--output", str(self.file)]
        with subprocess.Popen(opening, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False) as opened:
            sealed = subprocess.run(sealing, stdin=opened.stdout, capture_output=True, check=False)
            if opened.stdout:
                opened.stdout.close()  # one that ended early leaves nobody to read: the other must not wait for that
            said = (opened.stderr.read() if opened.stderr else b"").decode(errors="replace")
        if opened.returncode or sealed.returncode:
            failed = said if opened.returncode > 0 else sealed.stderr.decode(errors="replace")
            lines = failed.strip().splitlines()
            self.folder.cleanup()
            reason = lines[0].removeprefix("age: error: ") if lines else "age said nothing"
            problem = (
                f"can't be opened with {self.identity}" if opened.returncode > 0 else "can't be made ready to send"
            )
            raise ValueError(f"{self.archive} {problem}: {reason}. Nothing was changed.")


class _Upload(FileUploadCommand):
    """Sends what ``sent`` has encrypted, and removes it here."""

    def __init__(self, sent: _Sent, target: str) -> None:
        super().__init__("", target)
        self.sent = sent

    def execute(self, state: Any, host: Any, connector_arguments: Any) -> Any:
        self.src = str(self.sent.file)
        try:
            return super().execute(state, host, connector_arguments)
        finally:
            if self.sent.folder:
                self.sent.folder.cleanup()


def _make_folder(state: Any, host: Any, folder: Path) -> bool:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return True


def _keep(state: Any, host: Any, incoming: Path, said: Path) -> bool:
    """Gives the fetched file its name if it is what the host says it is."""
    wanted, name = said.read_text(encoding="ascii").split()
    said.unlink()
    with incoming.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted or made(name) is None:
        incoming.unlink()
        pyinfra.logger.error(f"[{host.name}] the fetched backup is not what the host says it is; run this again")
        return False
    target = incoming.with_name(name)
    incoming.chmod(0o600)
    incoming.rename(target)
    target.with_name(f"{name}.sha256").write_text(f"{wanted}  {name}\n")
    print(
        f"\n{target}: {size_text(target.stat().st_size)}, checksum right\n"
        f"to restore it: pyinfra INVENTORY deploys/restore.py -y --data from={target} --data identity=FILE\n"
        "to try that first without a change: add --data scratch=true",
        flush=True,
    )
    return True
