"""Where secrets live on a host. Names, modes and owners only; values never leave the host."""

from typing import Final

from tandem.domain.slots import UIDS

ROOT: Final = "/etc/tandem/secrets"
EDGE_GID: Final = UIDS["tandem-edge"]

BASE: Final = ("api_key", "basic_password", "gate", "upstream_key", "webui_admin_password", "webui_secret_key")
"""The secrets themselves, one per file; everything else is derived from them."""

GIVEN: Final = ("api_key", "basic_password", "webui_admin_password")
"""Those that an operator may bring; the others are only ever generated."""

EDGE_LOADED: Final = ("api_keys.conf", "gate.conf", "upstream.conf", "ca.crt", "tls.crt", "tls.key")
"""Files under edge/ that Nginx reads when it loads its configuration; ``revision.conf`` is their fingerprint.

``htpasswd`` is not among them: Nginx reads it at each request.
"""


def directories() -> list[tuple[str, str, int, int]]:
    """(path relative to the root, mode, uid, gid) of each folder, parents first; "." is the root itself."""
    return [
        (".", "0700", 0, 0),
        ("edge", "0750", 0, EDGE_GID),
        ("engine", "0700", 0, 0),
        ("tls", "0700", 0, 0),
        ("webui", "0700", 0, 0),
    ]


def files() -> list[tuple[str, str, int, int]]:
    """(path relative to the root, mode, uid, gid) of each file."""
    private = [*BASE, "engine/env", "tls/ca.crt", "tls/ca.key", "webui/env"]
    edge = [f"edge/{name}" for name in sorted((*EDGE_LOADED, "htpasswd", "revision.conf"))]
    return [(name, "0600", 0, 0) for name in private] + [(name, "0640", 0, EDGE_GID) for name in edge]


def paths() -> list[tuple[str, str, int, int]]:
    """(absolute path, mode, uid, gid) of each file, for a tree that checks presence, mode and owner."""
    return [(f"{ROOT}/{name}", mode, uid, gid) for name, mode, uid, gid in files()]
