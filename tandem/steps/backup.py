"""A backup made now and fetched, and one brought back."""

import hashlib
from pathlib import Path
from typing import Any, Final

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config import Config
from tandem.facts.backup import Backups, Restorable
from tandem.operations import backup

TO: Final = "to"
FROM: Final = "from"
IDENTITY: Final = "identity"
REPLACE: Final = "replace"
SCRATCH: Final = "scratch"
OPTIONS: Final = (TO, FROM, IDENTITY, REPLACE, SCRATCH)
"""What ``--data`` says to these deploys; no part of the configuration."""

FOLDER: Final = "backups"
"""Not below runs/, which `make clean` removes."""
MAGIC: Final = b"age-encryption.org/v1"
LEFT: Final = "nothing was changed"


def make(config: Config) -> None:
    """Makes a backup now and fetches it to ``--data to=FOLDER`` (backups). Raises DeployError where none are
    configured.
    """
    if config.backup is None:
        raise DeployError(
            f"backup is not configured for {host.name}; {LEFT}: give backup/recipients in group_data (age-keygen -o "
            "FILE makes a key and prints its public half; keep FILE away from the host) and run deploys/install.py"
        )
    seen = host.get_fact(Backups)
    if not seen.get("configured"):
        raise DeployError(f"{host.name} does not know of backups yet; {LEFT}: run deploys/install.py first")
    backup.make(name="Make a backup")
    folder = Path(str(host.data.get(TO, FOLDER))).expanduser()
    backup.fetch(name="Fetch it", directory=config.backup.directory, folder=folder)


def restore(config: Config) -> None:
    """Brings the backup ``--data from=FILE`` back with the key in ``--data identity=FILE``. Raises DeployError."""
    archive, identity = _file(FROM, "the backup"), _file(IDENTITY, "the private key that opens it (age)")
    _check(archive, identity)
    here = host.get_fact(Restorable)
    replace, scratch = _is_true(REPLACE), _is_true(SCRATCH)
    if here.get("slot") is None:
        raise DeployError(f"nothing serves on {host.name} yet; {LEFT}: run deploys/install.py, then this again")
    if here["busy"]:
        raise DeployError(f"{here['busy']} on {host.name}; {LEFT}: let it end, or roll it back")
    there = here["users"] is None or here["users"] > 1 or here["chats"]
    if there and not (replace or scratch):
        raise DeployError(
            f"Open WebUI on {host.name} has users' data: {here['users']} people, {here['chats']} chats; {LEFT}. To put "
            f"them aside on the host and take the backup's: --data {REPLACE}=true"
        )
    if not scratch:
        journal.remark(host, "Open WebUI is away (503) for the time of one start; engines and API go on")
    words = [*(["--replace"] if replace else []), *(["--scratch"] if scratch else [])]
    backup.restore(name="Restore", archive=archive, identity=identity, words=tuple(words))


def _file(option: str, what: str) -> Path:
    given = host.data.get(option, None)
    if not isinstance(given, str) or not given:
        raise DeployError(f"give {what}: --data {option}=FILE; {LEFT}")
    path = Path(given).expanduser()
    if not path.is_file():
        raise DeployError(f"--data {option}: {path} is no file; {LEFT}")
    return path.resolve()


def _check(archive: Path, identity: Path) -> None:
    """Whether these can be a backup and its key. Never repeats what the key's file holds."""
    with archive.open("rb") as file:
        if not file.read(len(MAGIC)) == MAGIC:
            raise DeployError(f"{archive} is no backup: it does not begin as age files do; {LEFT}")
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    said = archive.with_name(f"{archive.name}.sha256")
    if said.is_file() and said.read_text().split()[:1] != [found]:
        raise DeployError(f"{archive} is not what {said.name} beside it says: it is damaged; {LEFT}")
    try:
        text = identity.read_text()
    except (OSError, UnicodeDecodeError):
        text = ""
    keys = [line.strip() for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-1")]
    journal.mask.update(keys)
    if not keys and "age-encryption.org" not in text and "BEGIN" not in text:
        raise DeployError(f"{identity} holds no private key of age (AGE-SECRET-KEY-1...); {LEFT}")


def _is_true(option: str) -> bool:
    value: Any = host.data.get(option, False)
    if value in (True, "true", "True"):
        return True
    if value in (False, None, "false", "False"):
        return False
    raise DeployError(f"--data {option}: give true or false; {LEFT}")
