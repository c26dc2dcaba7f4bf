"""Packages, users and kernel settings."""

from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import operation

from tandem import commands, journal
from tandem.facts.host import HostState
from tandem.operations.live import Commands, LiveCommand


@operation()
def packages(names: Sequence[str], timeout_seconds: int, options: Sequence[str] = ()) -> Commands:
    """Installs the missing ones of these Debian packages; installed ones are left at their version.

    + options: apt settings for this run, as NAME=VALUE (a bundle as the only source)
    """
    seen = host.get_fact(HostState, question={"packages": list(names), "users": {}, "settings": {}})["packages"]
    missing = [name for name in names if seen[name] is None]
    if not missing:
        host.noop(f"all {len(names)} packages are installed")
        return
    journal.note(host, f"installed {', '.join(missing)}")
    job = {"names": missing, "timeout_seconds": timeout_seconds, "options": list(options)}
    yield LiveCommand(commands.host_program("install_packages", job))


@operation()
def base(users: Mapping[str, int], settings: Mapping[str, str]) -> Commands:
    """Makes the users of /etc/sysusers.d/tandem.conf and applies the settings of /etc/sysctl.d/60-tandem.conf."""
    seen = host.get_fact(HostState, question={"packages": [], "users": dict(users), "settings": dict(settings)})
    wrong_users = [name for name, uid in users.items() if seen["users"][name] != uid]
    wrong_settings = [name for name, value in settings.items() if seen["settings"][name] != value]
    if not wrong_users and not wrong_settings:
        host.noop(f"{len(users)} users and {len(settings)} kernel settings are as wanted")
    if wrong_users:
        journal.note(host, f"made the users {', '.join(wrong_users)}")
        yield commands.make_users()
    if wrong_settings:
        journal.note(host, f"set {', '.join(wrong_settings)}")
        yield commands.apply_settings()
