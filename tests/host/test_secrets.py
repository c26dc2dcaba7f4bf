"""Secrets: where they are, and that they are nowhere else."""

import re

from tandem.domain import secrets
from tests.host.reading import Seen, owners_of_secrets

NEEDED = {"command lines": 20, "journal lines": 100, "files readable by nobody": 100, "answers of systemd": 3}
"""How much must have been read for "not found" to mean anything."""


def test_every_secret_file_is_there_with_its_mode_and_owner(system: Seen) -> None:
    users, clients = (owners_of_secrets(system["tree"], kind) for kind in ("passwords", "keys"))
    assert users
    expected = {path: (mode, uid, gid) for path, mode, uid, gid in secrets.paths(users, clients)}
    expected |= {
        f"{secrets.ROOT}/{name}".removesuffix("/."): (mode, uid, gid) for name, mode, uid, gid in secrets.directories()
    }
    below = {path: seen for path, seen in system["tree"].items() if f"{path}/".startswith(f"{secrets.ROOT}/")}
    assert {path: (seen["mode"], seen["uid"], seen["gid"]) for path, seen in below.items()} == expected


def test_the_gate_knows_the_clients_that_have_a_key_and_no_others(system: Seen) -> None:
    named = re.findall(r'"([^"|]+)\|\$http_authorization"', system["nginx"]["/etc/tandem/gate/current/nginx.conf"])
    assert sorted(named) == owners_of_secrets(system["tree"], "keys")


def test_the_gate_serves_the_secrets_that_there_are(system: Seen) -> None:
    served = system["served"]["tandem-gate"]
    assert served["config"] in system["nginx"]["/etc/tandem/gate/current/nginx.conf"]
    assert served["secrets"] == system["status"]["secrets_revisions"]["tandem-gate"]


def test_the_gates_secret_is_renewed_by_a_timer(system: Seen) -> None:
    assert "tandem-gate-rotate.timer" in system["owned"]


def test_nothing_in_the_folder_of_secrets_is_open_to_others(system: Seen) -> None:
    below = {path: seen for path, seen in system["tree"].items() if f"{path}/".startswith(f"{secrets.ROOT}/")}
    assert system["tree"][secrets.ROOT]["mode"] == "0700"
    assert not {path for path, seen in below.items() if int(seen["mode"], 8) & 0o007}


def test_no_secret_is_seen_anywhere_else(leaks: Seen) -> None:
    """Command lines, the journal of this boot, and all that a user without rights can read or ask systemd for."""
    assert all(leaks["looked"].get(kind, 0) >= least for kind, least in NEEDED.items()), leaks["looked"]
    assert leaks["found"] == {}
