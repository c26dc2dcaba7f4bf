"""Secrets: where they are, and that they are nowhere else."""

from tandem.domain import secrets
from tests.host.reading import Seen

NEEDED = {"command lines": 20, "journal lines": 100, "files readable by nobody": 100, "answers of systemd": 3}
"""How much must have been read for "not found" to mean anything."""


def test_every_secret_file_is_there_with_its_mode_and_owner(system: Seen) -> None:
    expected = {path: (mode, uid, gid) for path, mode, uid, gid in secrets.paths()}
    expected |= {
        f"{secrets.ROOT}/{name}".removesuffix("/."): (mode, uid, gid) for name, mode, uid, gid in secrets.directories()
    }
    below = {path: seen for path, seen in system["tree"].items() if f"{path}/".startswith(f"{secrets.ROOT}/")}
    assert {path: (seen["mode"], seen["uid"], seen["gid"]) for path, seen in below.items()} == expected


def test_nothing_in_the_folder_of_secrets_is_open_to_others(system: Seen) -> None:
    below = {path: seen for path, seen in system["tree"].items() if f"{path}/".startswith(f"{secrets.ROOT}/")}
    assert system["tree"][secrets.ROOT]["mode"] == "0700"
    assert not {path for path, seen in below.items() if int(seen["mode"], 8) & 0o007}


def test_no_secret_is_seen_anywhere_else(leaks: Seen) -> None:
    """Command lines, the journal of this boot, and all that a user without rights can read or ask systemd for."""
    assert all(leaks["looked"].get(kind, 0) >= least for kind, least in NEEDED.items()), leaks["looked"]
    assert leaks["found"] == {}
