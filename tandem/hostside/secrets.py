"""Makes and repairs the secrets of a host. Runs there as root; standard library, htpasswd and openssl.

Base secrets are one file each; everything else is derived from them and rewritten only when it no longer matches.
No secret is in a command line, a message or an exception.
"""

import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem.domain.notice import URL_FORM, is_url
from tandem.domain.refused import Refused
from tandem.domain.secrets import LOADED, OLD, OPTIONAL, base
from tandem.domain.secrets import ROOT as ROOT_NAME
from tandem.hostside import certificates
from tandem.hostside.secret_files import Owners, Store
from tandem.hostside.secret_texts import derive

ROOT = Path(ROOT_NAME)
LOOK_SECONDS = 3600

KEY_FORM = (r"[A-Za-z0-9._~+/=-]{16,200}", "16 to 200 letters, digits or ._~+/=-")
PASSWORD_FORM = (r"[!#-&(-\[\]-_a-~]{12,72}", "12 to 72 printable ASCII characters, no spaces, quotes or backslashes")
NAME = r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}|:[0-9A-Fa-f:.]+"
USER = r"[a-z0-9][a-z0-9._-]{0,62}"
PEM = ("certificate", "certificate_key")
LEFT = "nothing was changed"


class SecretError(Refused):
    """A secret cannot be used; nothing was changed. The text names it and never shows it."""


def ensure(
    root: Path = ROOT,
    *,
    users: Sequence[str],
    clients: Sequence[str],
    names: Sequence[str],
    certificate: Mapping[str, Any],
    given: Mapping[str, str],
    owners: Owners | None = None,
) -> list[str]:
    """Make what is missing, take over ``given`` secrets, repair the rest; return the names of what changed.

    ``users``, ``clients``: who has a password, who has a key; the secrets of others are removed. ``names``: DNS names
    and addresses for the certificate, the main one first. ``certificate``: its ``kind`` and what that needs. ``given``:
    secret by name.
    A second call with the same arguments changes nothing, and a call cut short is finished by the next.
    Raises SecretError before anything is changed, OSError (with the path) when a file cannot be written, and
    subprocess.SubprocessError (no secret in it) when htpasswd or openssl fails.
    """
    wanted = {name: value if name in PEM else value.rstrip("\r\n") for name, value in given.items()}
    store = Store(Path(root), owners or Owners(), tuple(users), tuple(clients))
    _check(store, names, wanted)
    values = _values(store, wanted)
    _check_keys(values)
    certificates.check(names, certificate, wanted)
    store.make_folders()
    for name, value in values.items():
        store.write(name, f"{value}\n")
    for name in OPTIONAL:
        if name in wanted:
            store.write(name, f"{wanted[name]}\n")
        else:
            store.drop(name)
    # Before what is derived from them: a run cut short must leave nothing that the next rotation takes for a user.
    _remove_others(store)
    derive(store)
    certificates.settle(store, names, certificate, wanted)
    store.repair_rights()
    return store.changed


def due(root: Path = ROOT, *, scratch: Path = Path("/run"), **order: Any) -> list[str]:
    """What ``ensure`` would change: it is run on a private copy in ``scratch`` (memory on a host), which is removed."""
    for left in scratch.glob(".tandem-secrets-*"):  # of a look that was cut short
        if time.time() - left.stat().st_mtime > LOOK_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".tandem-secrets-", dir=scratch) as folder:
        copy = Path(folder) / "secrets"
        if Path(root).is_dir():
            # Owners matter to ensure, and shutil.copytree does not keep them.
            subprocess.run(["cp", "--archive", "--", str(root), str(copy)], check=True, timeout=30)
        return ensure(copy, **order)


def opened(root: Path = ROOT, owners: Owners | None = None) -> Store:
    """The secrets that a host has, whoever they belong to. Raises SecretError before they are made."""
    store = Store(Path(root), owners or Owners())
    store.users, store.clients = store.named("passwords"), store.named("keys")
    if not all(store.secret(name) for name in base(store.users, store.clients)) or not store.users:
        raise SecretError(f"{root} does not hold all secrets; run install first")
    _check_keys({name: store.secret(name) for name in base(store.users, store.clients)})
    return store


def credentials(root: Path = ROOT) -> dict[str, Any]:
    """The logins that people and programs need, for the one command that shows them. Raises SecretError if unmade."""
    store = opened(root)
    return {
        "passwords": {user: store.secret(f"passwords/{user}") for user in store.users},
        "keys": {client: store.secret(f"keys/{client}") for client in store.clients},
        "webui_admin_password": store.secret("webui_admin_password"),
        "ca_file": f"{root}/edge/ca.crt",
    }


def generate(name: str) -> str:
    """A new secret of this name."""
    if name.startswith("keys/"):
        return f"sk-tandem-{secrets.token_hex(24)}"
    return secrets.token_urlsafe(24) if "password" in name else secrets.token_hex(32)


def check_form(name: str, value: str) -> None:
    """Whether ``value`` can be that secret: it must fit into configuration files as it is. Raises SecretError."""
    if name == "notify_url":
        if not is_url(value):
            raise SecretError(f"the given {name} must be {URL_FORM}; {LEFT}")
        return
    pattern, form = KEY_FORM if name.startswith("keys/") else PASSWORD_FORM
    if not re.fullmatch(pattern, value):
        raise SecretError(f"the given {name} must be {form}; {LEFT}")


def revision(root: Path = ROOT, unit: str = "tandem-edge") -> str:
    """What the unit's /config answers as its second word once it has loaded these secrets. Raises SecretError."""
    name = f"{LOADED[unit][0]}/revision.conf"
    found = re.search(r"default ([0-9a-f]{16});", Store(Path(root)).read(name) or "")
    if not found:
        raise SecretError(f"{root}/{name} is missing or was changed by hand; run install again")
    return found.group(1)


def _values(store: Store, given: Mapping[str, str]) -> dict[str, str]:
    """Every base secret: given, there, taken over from a host that knew one user and one client, or new."""
    names = base(store.users, store.clients)
    first = {folder: next((name for name in names if name.startswith(f"{folder}/")), "") for folder in OLD}
    old = {name: store.secret(OLD[folder]) for folder, name in first.items()}
    return {name: given.get(name) or store.secret(name) or old.get(name) or generate(name) for name in names}


def _check(store: Store, names: Sequence[str], given: Mapping[str, str]) -> None:
    for program, package in (("htpasswd", "apache2-utils"), ("openssl", "openssl")):
        if not shutil.which(program):
            raise SecretError(f"{program} is not installed; {LEFT}; install the package {package} and run again")
    for label, listed in (("users", store.users), ("clients", store.clients)):
        bad = [name for name in listed if not re.fullmatch(USER, name)]
        if bad:
            raise SecretError(f"{label}: {bad[0]!r} must be lowercase letters, digits or ._-; {LEFT}")
        if len(set(listed)) < len(listed) or (label == "users" and not listed):
            raise SecretError(f"{label}: each must be named once, and at least one user; {LEFT}")
    named = {name for name in base(store.users, store.clients) if "/" in name}
    giveable = {"webui_admin_password", *PEM, *OPTIONAL, *named}
    for name, value in given.items():
        if name not in giveable:
            raise SecretError(f"{name!r} cannot be given; these can: {', '.join(sorted(giveable))}; {LEFT}")
        if name not in PEM:
            check_form(name, value)
    wrong = [name for name in names if not re.fullmatch(NAME, name)]
    if wrong or not names:
        raise SecretError(f"the certificate needs DNS names or addresses, not {wrong or 'an empty list'}; {LEFT}")


def _check_keys(values: Mapping[str, str]) -> None:
    """Nginx finds a key without regard to case: two that differ only there would be one."""
    seen: dict[str, str] = {}
    for name in sorted(name for name in values if name.startswith("keys/")):
        other = seen.setdefault(values[name].lower(), name)
        if other != name:
            raise SecretError(f"{other} and {name} are the same key, but for case at most; give two keys; {LEFT}")


def _remove_others(store: Store) -> None:
    """The secrets of users and clients that are no longer named, and those that were taken over."""
    for folder, kept in (("passwords", store.users), ("keys", store.clients)):
        for name in set(store.named(folder)) - set(kept):
            store.drop(f"{folder}/{name}")
    for name in OLD.values():
        store.drop(name)
    for path in store.root.rglob(".*.new"):  # of a write that was cut short
        path.unlink()
