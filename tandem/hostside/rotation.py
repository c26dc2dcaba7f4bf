"""A new secret in the place of an old one, and everything that is made from it. A call cut short is repeated."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tandem.domain.refused import Refused
from tandem.hostside import certificates, gate, secrets, webui_password
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners, Store
from tandem.hostside.secret_texts import derive

FIXED: Mapping[str, str] = {
    "upstream_key": "engines and WebUI were started with it, and another one is a restart of all of them",
    "webui_secret_key": "every session of Open WebUI is signed with it, and another one ends them all",
}
"""Secrets that are not replaced while the host serves, and why."""

HOUR_SECONDS = 3600
GATE_NEXT = "gate_secret.next"


def rotate(paths: Paths, what: str, owners: Owners | None = None) -> list[str]:
    """Replace ``what`` (see ``rotatable``) by a new secret; returns the names of the files that changed.

    Only the gate is reloaded, and verified; nothing else is. Raises Refused with nothing changed, NotTaken,
    SubprocessError or OSError; then the next call goes on.
    """
    store = secrets.opened(paths.secrets, owners)
    if what in FIXED:
        raise Refused(f"{what} is not rotated: {FIXED[what]}. Nothing was changed.")
    if what not in rotatable(store):
        raise Refused(f"there is no {what!r} here; these can be rotated: {', '.join(rotatable(store))}.")
    special: Mapping[str, Callable[[], None]] = {
        "gate": lambda: _gate(store),
        "certificate": lambda: _certificate(store, paths),
        "webui_admin_password": lambda: webui_password.change(store, paths),
    }
    if what in special:
        special[what]()
    else:
        store.write(what, f"{secrets.generate(what)}\n")
        derive(store)
    gate.tell(paths)
    if what == "gate":
        store.drop(GATE_NEXT)
    return [name for name in store.changed if not name.endswith(".next (removed)")]


def rotatable(store: Store) -> list[str]:
    """What can be rotated on this host."""
    own = [f"passwords/{user}" for user in store.users] + [f"keys/{client}" for client in store.clients]
    return [*own, "gate", "webui_admin_password", "certificate"]


def old(paths: Paths, what: str, hours: float) -> bool:
    """Whether ``what`` was made longer ago than that, or is being replaced by a call that was cut short."""
    if what == "gate" and (paths.secrets / GATE_NEXT).exists():
        return True
    return what not in rotatable(secrets.opened(paths.secrets)) or _age_seconds(paths, what) > hours * HOUR_SECONDS


def ages(paths: Paths) -> dict[str, float]:
    """The age in days of each secret that this host has, by name; never a value. {} before they are made."""
    try:
        store = secrets.opened(paths.secrets)
    except secrets.SecretError:
        return {}
    names = [*rotatable(store), *FIXED]
    return {name: round(_age_seconds(paths, name) / 24 / HOUR_SECONDS, 1) for name in names}


def _age_seconds(paths: Paths, what: str) -> float:
    """How long ago ``what`` was made."""
    file = {"gate": "gate_secret", "certificate": certificates.TLS}.get(what, what)
    return time.time() - (paths.secrets / file).stat().st_mtime


def _gate(store: Store) -> None:
    """The secret that is replaced stays the previous one, and its cookies open until the password comes along.

    The new secret is kept first: a repeated call must not push the one that people still have out of its place.
    """
    new = store.secret(GATE_NEXT)
    if not new:
        new = secrets.generate("gate_secret")
        store.keep(GATE_NEXT, new)
    if store.secret("gate_secret") != new:
        store.write("gate_secret_previous", f"{store.secret('gate_secret')}\n")
        store.write("gate_secret", f"{new}\n")
    derive(store)


def _certificate(store: Store, paths: Paths) -> None:
    """A new key and certificate from the host's own authority."""
    try:
        order: dict[str, Any] = json.loads(paths.certificate.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{paths.certificate} is missing. Nothing was changed. Run install again.") from None
    kind = order["certificate"]["kind"]
    if kind != "generated":
        other = {"files": "give another one in group_data and run install", "acme": "tandemctl certificate renew"}
        raise Refused(f"the certificate is of kind {kind}. Nothing was changed. Instead: {other[kind]}.")
    certificates.settle(store, order["names"], order["certificate"], {}, fresh=True)
