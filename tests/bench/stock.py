"""The comparison: the things that install manages, one stock pyinfra operation each.

Files, folders and links are made below a folder of their own; users, settings, packages and units are those of the
host, which has them already.
"""

from io import StringIO
from typing import Any

from pyinfra import host
from pyinfra.operations import apt, files, server, systemd

from tandem import journal
from tandem.config import load
from tandem.domain.slots import FIRST_SLOT, UIDS
from tandem.render import front_units, render_host, slot_units
from tandem.render.host import SETTINGS
from tandem.render.tree import Directory, Entry, File, Link
from tandem.steps.host import PACKAGES

FOLDER = "/var/tmp/tandem-bench"


def make(path: str, entry: Entry) -> None:
    below = f"{FOLDER}{path}"
    if isinstance(entry, Link):
        files.link(path=below, target=entry.target)
        return
    owner: dict[str, Any] = {"mode": entry.mode.lstrip("0"), "user": "root", "group": "root"}
    if isinstance(entry, Directory):
        files.directory(path=below, **owner)
    elif isinstance(entry, File):
        files.put(src=StringIO(entry.content), dest=below, **owner)
    else:
        files.file(path=below, **owner)


def main() -> None:
    journal.start("stock")
    config = load(host.data.dict(), host.name)
    tree = render_host(host.name, config, FIRST_SLOT)
    for path, entry in sorted(tree.entries.items()):
        make(path, entry)
    for group in tree.groups:
        for name, file in group.files.items():
            make(f"{group.base}/active/{name}", file)
        make(group.current, Link("active"))
    for user in UIDS:
        server.user(user=user, create_home=False, ensure_home=False)
    for setting, value in SETTINGS.items():
        server.sysctl(key=setting, value=value)
    apt.packages(packages=list(PACKAGES))
    for unit in [*slot_units(config, FIRST_SLOT), *front_units(config)]:
        systemd.service(service=unit.name, running=True)


main()
