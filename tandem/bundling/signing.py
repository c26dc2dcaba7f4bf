"""The bundle's own key, and the one signature that covers everything in the bundle."""

import hashlib
import os
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tandem.bundling.errors import BundleError
from tandem.bundling.running import run

SIGNED = ("Packages", "MANIFEST.json")


class Key:
    """Made once, kept in ``folder`` on the machine that makes bundles. Whoever has it can make a bundle of yours."""

    def __init__(self, folder: Path) -> None:
        # gpg's agent is reached by a socket in this folder, and a socket's path has at most 107 bytes.
        if len(str(folder)) > 80:
            raise BundleError(f"--key-folder {folder}: at most 80 characters; choose a shorter path")
        self.folder = folder
        self._gpg = ["gpg", "--homedir", str(folder), "--batch", "--quiet", "--no-tty"]

    def ensure(self) -> bool:
        """True when it was made just now."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if self._fingerprint():
            return False
        no_passphrase = ["--passphrase", "", "--pinentry-mode", "loopback"]
        run([*self._gpg, *no_passphrase, "--quick-generate-key", "Tandem offline bundle", "ed25519", "sign", "never"])
        return True

    def public(self) -> str:
        """The public key, in ASCII armour."""
        return run([*self._gpg, "--armor", "--export", self._fingerprint()])

    def sign(self, text: str) -> str:
        """``text`` with its signature around it."""
        return run(
            [*self._gpg, "--local-user", self._fingerprint(), "--digest-algo", "SHA512", "--clearsign"], stdin=text
        )

    def verified(self, text: str) -> str:
        """What was signed with this key. Raises ValueError when ``text`` was not."""
        try:
            return run([*self._gpg, "--decrypt"], stdin=text)
        except BundleError as error:
            raise ValueError(str(error)) from None

    def close(self) -> None:
        """Ends the agent that gpg left behind."""
        run(["gpgconf", "--homedir", str(self.folder), "--kill", "gpg-agent"])

    def _fingerprint(self) -> str:
        listed = run([*self._gpg, "--with-colons", "--list-secret-keys"])
        found = re.search(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)
        return found[1] if found else ""


def release_text(folder: Path, made: datetime) -> str:
    """apt's Release file: the hashes of what it signs."""
    lines = [
        "Origin: Tandem",
        "Label: Tandem bundle",
        "Suite: bundle",
        "Architectures: amd64",
        f"Date: {format_datetime(made.astimezone(UTC), usegmt=True)}",
        "SHA256:",
    ]
    for name in SIGNED:
        data = (folder / name).read_bytes()
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """In place by a rename, on disk when this returns."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
