"""How an engine's container is confined: written into the Quadlet unit, and used by the test that CUDA works in it."""

from typing import Final

from tandem.domain.slots import UIDS

UID: Final = UIDS["tandem-engine"]

RUN_MODE: Final = (
    # Published ports would bypass the host's firewall; the engine listens on loopback.
    ("Network", "host"),
    ("User", str(UID)),
    ("Group", str(UID)),
    ("DropCapability", "ALL"),
    ("NoNewPrivileges", "true"),
    ("ReadOnly", "true"),
    ("ReadOnlyTmpfs", "true"),
)
"""Keys of a Quadlet [Container] section."""

_FLAGS: Final = {
    "Network": "--network={}",
    "DropCapability": "--cap-drop={}",
    "NoNewPrivileges": "--security-opt=no-new-privileges",
    "ReadOnly": "--read-only",
    "ReadOnlyTmpfs": "--read-only-tmpfs={}",
}


def device(card: int) -> str:
    """A card as CDI names it."""
    return f"nvidia.com/gpu={card}"


def podman_flags() -> list[str]:
    """RUN_MODE as options of ``podman run``, as Quadlet translates them."""
    mode = dict(RUN_MODE)
    user = f"--user={mode['User']}:{mode['Group']}"
    return [user, *(_FLAGS[key].format(value) for key, value in RUN_MODE if key in _FLAGS)]
