"""One certificate from an ACME authority, by Debian's dehydrated (HTTP-01). Runs on the host as root.

The certificate's key never gets near dehydrated, which is given a signing request; the account's key is its own. All
that it writes lies in one folder: ``accounts`` (root only) and ``challenges`` (the edge answers from there).
"""

import base64
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from tandem.hostside import x509
from tandem.hostside.files import write_atomic

LIMIT_SECONDS = 600
CURL_OPTIONS = "--connect-timeout 20 --max-time 120"
CURL_SAYS = {
    "6": "its name is not known here",
    "7": "nobody answers there",
    "28": "no answer in time",
    "60": "its certificate is not trusted here; edge/certificate/authority can name one that is",
}


class NoCertificate(Exception):
    """The authority gave none. The text is the reason: what it said itself, where it said something."""


@dataclass(frozen=True)
class Authority:
    """``directory``: its URL. ``email``: where it writes to. ``trusted_by``: PEM for its HTTPS, "" for the usual."""

    directory: str
    email: str
    trusted_by: str = ""


def order(folder: Path, authority: Authority, key: str, names: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    """The certificate for ``key`` and ``names``, then its intermediates (PEM). Only one call at a time per folder.

    ``tell`` is given one line for each step. Raises NoCertificate; what was cut short is begun anew by the next call.
    """
    config = _prepare(folder, authority)
    if not any((folder / "accounts" / _folder_name(authority.directory)).glob("*")):
        _run(config, ["--register", "--accept-terms"], tell)
    with tempfile.NamedTemporaryFile("w", prefix="request-", suffix=".pem", dir=folder) as request:
        request.write(x509.make_request(key, names))
        request.flush()
        chain = x509.blocks(_run(config, ["--signcsr", request.name], tell))
    if not chain:
        raise NoCertificate(f"{authority.directory} answered without a certificate")
    return chain


def _prepare(folder: Path, authority: Authority) -> Path:
    for left in [*(folder / "challenges").iterdir(), *folder.glob("request-*.pem")]:
        left.unlink()
    accounts = folder / "accounts"
    accounts.mkdir(mode=0o700, exist_ok=True)
    for account in accounts.iterdir():
        # Cut short while it registered, dehydrated would ask for ever after an account that nobody knows.
        if not all(_holds_text(account / name) for name in ("account_key.pem", "registration_info.json")):
            rmtree(account)
    trusted = folder / "authority.pem"
    write_atomic(trusted, authority.trusted_by, "0600")
    settings = {
        "CA": authority.directory,
        "CONTACT_EMAIL": authority.email,
        "BASEDIR": str(folder),
        "ACCOUNTDIR": str(accounts),
        "WELLKNOWN": str(folder / "challenges"),
        "CHALLENGETYPE": "http-01",
        "KEYSIZE": "2048",  # of the account
        "CURL_OPTS": CURL_OPTIONS + (f" --cacert {trusted}" if authority.trusted_by else ""),
    }
    config = folder / "dehydrated.conf"
    write_atomic(config, "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()), "0600")
    return config


def _folder_name(directory: str) -> str:
    """As dehydrated names an account's folder; where another version names it otherwise, registering is a noop."""
    return base64.urlsafe_b64encode(f"{directory}\n".encode()).decode().rstrip("=")


def _holds_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _run(config: Path, words: Sequence[str], tell: Callable[[str], None]) -> str:
    """What dehydrated printed on standard output. Its own lock is left out: it would outlive a killed process."""
    # dehydrated may wait for an authority for ever, and must not go on when this process has been killed.
    limited = ["setpriv", "--pdeathsig", "TERM", "timeout", "--kill-after=10", str(LIMIT_SECONDS)]
    command = [*limited, "dehydrated", "--no-lock", "--config", str(config), *words]
    said: list[str] = []
    with tempfile.TemporaryFile("w+") as answer:
        process = subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True, errors="replace")
        with process:
            for line in process.stderr or ():
                said.append(line.rstrip())
                if step := re.match(r"\s*\+ (?!ERROR)(.+)", line):
                    tell(step.group(1).rstrip())
        answer.seek(0)
        text = answer.read()
    if process.returncode:
        raise NoCertificate(_reason([*said, *text.splitlines()], process.returncode))
    return text


def _reason(said: Sequence[str], status: int) -> str:
    if status == 127:
        return "dehydrated is not installed here: install the package dehydrated, or run install again"
    if status in (124, 137):
        return f"it had not answered after {LIMIT_SECONDS} s"
    text = "\n".join(said)
    if details := re.findall(r'"detail"\]?[\s:]*"((?:[^"\\]|\\.)*)"', text):
        return str(details[-1])
    if curl := re.search(r"Problem connecting to server \(\w+ for (\S+); curl returned with (\d+)\)", text):
        return f"{curl[1]}: {CURL_SAYS.get(curl[2], f'curl ended with {curl[2]}')}"
    errors = [line for line in said if "ERROR" in line] or [line for line in said if line.strip()]
    return errors[-1].strip() if errors else f"dehydrated ended with {status} and said nothing"
