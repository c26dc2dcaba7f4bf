"""The gate reads keys and people when it loads its configuration: it is told when they have changed."""

from tandem.hostside import secrets
from tandem.hostside.paths import Paths
from tandem.hostside.probe import served
from tandem.hostside.traffic import confirm
from tandem.hostside.units import reload

UNIT = "tandem-gate"


def behind(paths: Paths) -> bool:
    """Whether the gate runs and serves other secrets than there are."""
    used = _used(paths)
    return used is not None and used != secrets.revision(paths.secrets, UNIT)


def tell(paths: Paths) -> bool:
    """Let a running gate take over what there is now; returns whether it had to. Ends when only the new one answers.

    Raises NotTaken when it serves others after its reload, SubprocessError when the reload fails.
    """
    wanted = secrets.revision(paths.secrets, UNIT)
    if _used(paths) == wanted or not reload(UNIT):
        return False
    confirm(UNIT, "secrets", wanted, lambda: _used(paths))
    return True


def _used(paths: Paths) -> str | None:
    """The revision that the gate serves; None for one that does not answer."""
    answer = served({UNIT: paths.status_ports[UNIT]})[UNIT]
    return answer["secrets"] if answer else None
