"""Where secrets live on a host. Names, modes and owners only; values never leave the host."""

from collections.abc import Iterable
from typing import Final

from tandem.domain.slots import UIDS

ROOT: Final = "/etc/tandem/secrets"
EDGE_GID: Final = UIDS["tandem-edge"]
GATE_GID: Final = UIDS["tandem-gate"]

SINGLE: Final = ("gate_secret", "gate_secret_previous", "upstream_key", "webui_admin_password", "webui_secret_key")
"""The secrets that a host has one of, one per file; ``base`` adds each user's password and each client's key."""

OPTIONAL: Final = ("notify_url",)
"""Secrets that a host has only while the operator gives them."""

LOADED: Final = {
    "tandem-edge": ("edge", ("groups.conf", "upstream.conf")),
    "tandem-gate": ("gate", ("keys.conf", "people.conf")),
}
"""Unit -> its folder and the files in it that Nginx reads when it loads its configuration.

``revision.conf`` beside them is their fingerprint. tls.pem is read at each handshake, htpasswd at each request.
"""

OLD: Final = {"passwords": "basic_password", "keys": "api_key"}
"""Folder -> where a host that knew one user and one client kept the secret of that one."""


def base(users: Iterable[str], clients: Iterable[str]) -> list[str]:
    """The secrets themselves, one per file; everything else is derived from them."""
    return [*SINGLE, *(f"passwords/{user}" for user in users), *(f"keys/{client}" for client in clients)]


def directories() -> list[tuple[str, str, int, int]]:
    """(path relative to the root, mode, uid, gid) of each folder, parents first; "." is the root itself."""
    shared = [("edge", "0750", 0, EDGE_GID), ("gate", "0750", 0, GATE_GID)]
    private = [(name, "0700", 0, 0) for name in ("engine", "keys", "passwords", "tls", "webui")]
    return [(".", "0700", 0, 0), *sorted([*shared, *private])]


def files(
    users: Iterable[str], clients: Iterable[str], optional: Iterable[str] = ()
) -> list[tuple[str, str, int, int]]:
    """(path relative to the root, mode, uid, gid) of each file; ``optional``: those of OPTIONAL that it has."""
    private = [*base(users, clients), *optional, "engine/env", "tls/ca.crt", "tls/ca.key", "webui/env"]
    edge = [f"edge/{name}" for name in ("ca.crt", "groups.conf", "revision.conf", "tls.pem", "upstream.conf")]
    gate = [f"gate/{name}" for name in ("htpasswd", "keys.conf", "people.conf", "revision.conf")]
    return sorted(
        [
            *((name, "0600", 0, 0) for name in private),
            *((name, "0640", 0, EDGE_GID) for name in edge),
            *((name, "0640", 0, GATE_GID) for name in gate),
        ]
    )


def paths(
    users: Iterable[str], clients: Iterable[str], optional: Iterable[str] = ()
) -> list[tuple[str, str, int, int]]:
    """(absolute path, mode, uid, gid) of each file, for a tree that checks presence, mode and owner."""
    return [(f"{ROOT}/{name}", mode, uid, gid) for name, mode, uid, gid in files(users, clients, optional)]
