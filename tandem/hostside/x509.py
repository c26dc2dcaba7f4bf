"""Keys and certificates (PEM), made and read by the openssl program. Host side.

Private keys pass over standard input and output; the only key file openssl opens is the CA's own. A failed openssl
raises subprocess.SubprocessError, with no key in it.
"""

import ipaddress
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CA_DAYS = 3650
LEAF_DAYS = 365

CA_EXTENSIONS = """\
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
LEAF_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----\n.*?\n-----END (?P=label)-----", re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """What a certificate says. ``names`` are canonical DNS names and addresses; ``public_key`` is PEM."""

    names: frozenset[str]
    begins: datetime
    ends: datetime
    public_key: str

    @property
    def days_left(self) -> float:
        """Negative once it has ended."""
        return (self.ends - datetime.now(UTC)) / timedelta(days=1)

    @property
    def lifetime_days(self) -> float:
        return (self.ends - self.begins) / timedelta(days=1)

    @property
    def valid_now(self) -> bool:
        return self.begins <= datetime.now(UTC) < self.ends

    def lacks(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that it does not cover; ``*.`` stands for one label."""
        return [name for name in names if not self.names & {canonical(name), f"*.{name.lower().partition('.')[2]}"}]


def read(certificate: str) -> Seen:
    """Raises ValueError if this is no certificate."""
    shown = ("-noout", "-pubkey", "-dates", "-dateopt", "iso_8601", "-ext", "subjectAltName")
    try:
        text = openssl("x509", *shown, given=certificate)
    except subprocess.SubprocessError:
        raise ValueError("no certificate that openssl can read") from None
    key = BLOCK.search(text)
    return Seen(_names_in(text), _date(text, "notBefore"), _date(text, "notAfter"), key.group() if key else "")


def blocks(text: str, label: str = "CERTIFICATE") -> list[str]:
    """The PEM blocks of one kind, in order, each ending with a newline, without what stands between them."""
    found = BLOCK.finditer(text.replace("\r\n", "\n"))
    return [f"{match.group()}\n" for match in found if match["label"] == label]


def private_key(text: str) -> str | None:
    """The first private key in ``text``, as PKCS #8; None if there is none, or if it needs a passphrase."""
    try:
        return openssl("pkey", "-passin", "pass:", given=text)
    except subprocess.SubprocessError:
        return None


def public_key(key: str) -> str:
    return openssl("pkey", "-pubout", given=key).strip()


def new_key() -> str:
    """A new P-256 private key (PEM)."""
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def make_ca(key: str, name: str) -> str:
    """A self-signed CA certificate for ``key``, named after the host."""
    return _request(("-x509", "-days", str(CA_DAYS)), f"Tandem CA of {name}", CA_EXTENSIONS, key)


def make_leaf(key: str, names: Sequence[str], ca_certificate: Path, ca_key: Path, days: int = LEAF_DAYS) -> str:
    """A server certificate for ``key`` and all of ``names`` (DNS names and addresses), signed by the CA."""
    options = ("-x509", "-days", str(days), "-CA", str(ca_certificate), "-CAkey", str(ca_key))
    return _request(options, names[0], f"{LEAF_EXTENSIONS}{_alternative(names)}", key)


def make_request(key: str, names: Sequence[str]) -> str:
    """A certificate signing request for ``key`` and all of ``names``."""
    return _request((), names[0], _alternative(names), key)


def signed_by(certificate: str, issuer: str) -> bool:
    """Whether ``issuer`` signed ``certificate``; dates are not looked at."""
    options = ("-no_check_time", "-partial_chain", "-no-CAfile", "-no-CApath", "-no-CAstore")
    with _file(issuer) as trusted, _file(certificate) as checked:
        try:
            openssl("verify", *options, "-trusted", trusted, checked)
        except subprocess.SubprocessError:
            return False
        return True


def canonical(name: str) -> str:
    found = address(name)
    return str(found) if found else name.lower()


def address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _names_in(text: str) -> frozenset[str]:
    """The names of openssl's ``DNS:a, IP Address:1.2.3.4`` lines."""
    parts = [part.strip() for line in text.splitlines() for part in line.split(",")]
    return frozenset(canonical(part.split(":", 1)[1]) for part in parts if part.startswith(("DNS:", "IP Address:")))


def _date(text: str, label: str) -> datetime:
    found = re.search(rf"^{label}=(.+)Z$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"a certificate without {label}")
    return datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC)


def _alternative(names: Sequence[str]) -> str:
    return f"subjectAltName = {', '.join(f'IP:{name}' if address(name) else f'DNS:{name}' for name in names)}\n"


def _request(options: Sequence[str], common_name: str, extensions: str, key: str) -> str:
    # A configuration of our own: the system's would add extensions of its own.
    wanted = "x509_extensions" if "-x509" in options else "req_extensions"
    config = f"[req]\ndistinguished_name = name\n{wanted} = wanted\nprompt = no\n"
    with _file(f"{config}[name]\nCN = {common_name[:64]}\n[wanted]\n{extensions}") as path:
        return openssl("req", "-new", "-key", "/dev/stdin", *options, "-config", path, given=key)


@contextmanager
def _file(text: str) -> Iterator[str]:
    """The path of a file that nobody else can read, for as long as the block runs."""
    with tempfile.NamedTemporaryFile("w", prefix="tandem-", suffix=".pem") as file:
        file.write(text)
        file.flush()
        yield file.name


def openssl(*arguments: str, given: str = "") -> str:
    command = ["openssl", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=True).stdout
