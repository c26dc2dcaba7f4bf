"""The edge's certificate, by the openssl program: a private CA made once, and a leaf renewed from it. Host side.

Private keys pass over standard input and output; the only key file openssl opens is the CA's own. A failed openssl
raises subprocess.SubprocessError (no key in it), and no file was changed by then.
"""

import ipaddress
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

CA_DAYS = 3650
LEAF_DAYS = 397
RENEW_DAYS = 30

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


def new_key() -> str:
    """A new P-256 private key (PEM)."""
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def make_ca(key: str, name: str) -> str:
    """A self-signed CA certificate (PEM) for ``key``, named after the host."""
    arguments = ("req", "-x509", "-new", "-key", "/dev/stdin", "-days", str(CA_DAYS))
    return _request(arguments, f"Tandem CA of {name}", CA_EXTENSIONS, key)


def make_leaf(key: str, names: Sequence[str], ca_certificate: Path, ca_key: Path, days: int = LEAF_DAYS) -> str:
    """A server certificate (PEM) for ``key`` and all of ``names`` (DNS names and addresses), signed by the CA."""
    issuer = ("-CA", str(ca_certificate), "-CAkey", str(ca_key))
    arguments = ("req", "-x509", "-new", "-key", "/dev/stdin", "-days", str(days), *issuer)
    alternative = ", ".join(f"IP:{name}" if _address(name) else f"DNS:{name}" for name in names)
    return _request(arguments, names[0], f"{LEAF_EXTENSIONS}subjectAltName = {alternative}\n", key)


def is_good(certificate: Path, key: Path, ca_certificate: Path, names: Sequence[str]) -> bool:
    """Whether the files belong together, name exactly ``names`` and stay valid for 30 more days."""
    try:
        seen = _openssl(*_show(RENEW_DAYS), "-ext", "subjectAltName", "-in", str(certificate))
        _openssl("verify", "-CAfile", str(ca_certificate), str(certificate))
        return _public_key(key) in seen and _named_in(seen) == {_canonical(name) for name in names}
    except (subprocess.SubprocessError, OSError, ValueError):
        return False


def is_good_ca(certificate: Path, key: Path) -> bool:
    """Whether the CA's files belong together and outlive a new leaf."""
    try:
        return _public_key(key) in _openssl(*_show(LEAF_DAYS), "-in", str(certificate))
    except (subprocess.SubprocessError, OSError, ValueError):
        return False


def _show(days: int) -> tuple[str, ...]:
    """Print the public key; fail if the certificate ends within ``days``."""
    return ("x509", "-noout", "-pubkey", "-checkend", str(days * 86400))


def _public_key(key: Path) -> str:
    return _openssl("pkey", "-pubout", given=key.read_text(encoding="utf-8"))


def _named_in(text: str) -> set[str]:
    """The names of openssl's ``DNS:a, IP Address:1.2.3.4`` lines."""
    parts = [part.strip() for line in text.splitlines() for part in line.split(",")]
    return {_canonical(part.split(":", 1)[1]) for part in parts if part.startswith(("DNS:", "IP Address:"))}


def _canonical(name: str) -> str:
    address = _address(name)
    return str(address) if address else name.lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _request(arguments: Sequence[str], common_name: str, extensions: str, key: str) -> str:
    # A configuration of our own: the system's would add extensions of its own.
    config = "[req]\ndistinguished_name = name\nx509_extensions = wanted\nprompt = no\n"
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as file:
        file.write(f"{config}[name]\nCN = {common_name[:64]}\n[wanted]\n{extensions}")
        file.flush()
        return _openssl(*arguments, "-config", file.name, given=key)


def _openssl(*arguments: str, given: str = "") -> str:
    command = ["openssl", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=True).stdout
