"""Secrets on a real host: changed while the gate is asked, cut short, given, taken over from an older Tandem."""

import random
from pathlib import Path
from typing import Any

import pytest

from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost

DEPLOY = "tests/faults/deploys/secrets.py"
SECRETS = "/etc/tandem/secrets"
ROTATE = "tandem-gate-rotate.service"


@pytest.fixture
def there(packaged: str, workplace: Workplace) -> OnHost:
    """The spare host with its secrets and the gate."""
    ended = deploy(workplace, packaged)
    assert ended.status == 0, ended.output
    return OnHost(packaged)


def deploy(workplace: Workplace, name: str, **changes: Any) -> Ended:
    return workplace.run(workplace.inventory(name, changes), DEPLOY)


def as_before(workplace: Workplace, there: OnHost, **changes: Any) -> None:
    """The same once more changes nothing, and the gate knows what it is given."""
    again = deploy(workplace, there.name, **changes)
    assert (again.status, again.changed) == (0, []), again.output
    there.shell(f"grep -q $(python3 -c '{ASK_CONFIG}') {SECRETS}/gate/revision.conf")


ASK_CONFIG = (
    'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:18703/config").read().split()[1].decode())'
)


def secret(there: OnHost, name: str) -> str:
    return there.shell(f"cat {SECRETS}/{name}").strip()


def test_keys_and_the_gates_secret_change_and_nobody_notices(there: OnHost, workplace: Workplace) -> None:
    """The gate that is reloaded answers every question: those about other keys, and cookies of one rotation before."""
    edge = dict(hosts(STATE))[there.name]["edge"]
    unhurried = {"edge": {**edge, "clients": {"default": {"requests_per_second": 5000, "burst": 5000}, "hurried": {}}}}
    assert deploy(workplace, there.name, **unhurried).status == 0
    seen = there.program("ask_gate", {"seconds": 15, "rotate": ["keys/hurried", "passwords/second", "certificate"]})
    assert seen["rotations"] >= 3
    assert set(seen["answers"]) == {"204"}
    assert seen["answers"]["204"] > 1000
    once = there.program("ask_gate", {"seconds": 1, "rotate": ["gate"]})
    assert set(once["answers"]) == {"204"}
    as_before(workplace, there, **unhurried)


def test_the_service_of_the_timer_renews_what_is_old_enough(there: OnHost, workplace: Workplace) -> None:
    before = secret(there, "gate_secret")
    there.shell(f"systemctl start {ROTATE}")
    assert secret(there, "gate_secret") == before
    there.shell(f"touch -d '8 days ago' {SECRETS}/gate_secret; systemctl start {ROTATE}")
    assert secret(there, "gate_secret_previous") == before != secret(there, "gate_secret")
    as_before(workplace, there)


def test_killed_at_any_moment_the_next_run_converges(there: OnHost, workplace: Workplace, seed: int) -> None:
    print(f"TANDEM_SEED={seed}")
    chance = random.Random(seed)  # noqa: S311 - not a secret
    for what in ("gate", "keys/default", "passwords/team") * 3:
        there.shell(f"timeout -s KILL {chance.uniform(0.05, 0.6):.2f} tandemctl secrets rotate {what} || true")
    assert deploy(workplace, there.name).status == 0
    as_before(workplace, there)
    assert there.shell(f"find {SECRETS} -name '.*'") == ""


def test_an_older_hosts_password_and_key_are_taken_over(there: OnHost, workplace: Workplace) -> None:
    key, password = secret(there, "keys/default"), secret(there, "passwords/team")
    there.shell(
        f"systemctl stop tandem-gate; cd {SECRETS}; mv keys/default api_key; mv passwords/team basic_password; "
        "rm -r keys passwords gate gate_secret gate_secret_previous; echo 0123456789abcdef >gate; chmod 0600 gate"
    )
    ended = deploy(workplace, there.name)
    assert ended.status == 0, ended.output
    assert (secret(there, "keys/default"), secret(there, "passwords/team")) == (key, password)
    as_before(workplace, there)


def test_a_given_key_is_used_and_never_seen(there: OnHost, workplace: Workplace, tmp_path: Path) -> None:
    given = "given-to-the-hurried-one"
    (tmp_path / "key").write_text(given)
    changes = {"secrets": {"keys": {"hurried": {"command": ["cat", str(tmp_path / "key")]}}}}
    ended = deploy(workplace, there.name, **changes)
    assert (ended.status, secret(there, "keys/hurried")) == (0, given)
    as_before(workplace, there, **changes)
    inventory = workplace.inventory(there.name, changes)
    table = workplace.run(inventory, "deploys/credentials.py")
    assert "given by secrets/keys/hurried" in table.output
    refused = workplace.run(inventory, "deploys/credentials.py", "--data", "rotate=keys/hurried")
    assert refused.status != 0
    assert "would put that one back" in refused.output
    for shown in (ended, table, refused):
        assert given not in shown.output + repr(shown.events)


def test_a_key_is_rotated_from_the_operators_machine_without_being_shown(there: OnHost, workplace: Workplace) -> None:
    before = secret(there, "keys/hurried")
    ended = workplace.run(workplace.inventory(there.name), "deploys/credentials.py", "--data", "rotate=keys/hurried")
    after = secret(there, "keys/hurried")
    assert (ended.status, before == after) == (0, False)
    assert not [value for value in (before, after) if value in ended.output + repr(ended.events)]
    as_before(workplace, there)


def test_who_is_taken_out_of_the_inventory_has_no_password_and_no_key(there: OnHost, workplace: Workplace) -> None:
    edge = dict(hosts(STATE))[there.name]["edge"]
    fewer = {"edge": {**edge, "users": ["team"], "clients": {"default": {}}}}
    assert deploy(workplace, there.name, **fewer).status == 0
    as_before(workplace, there, **fewer)
    assert there.shell(f"ls {SECRETS}/keys {SECRETS}/passwords; cut -d: -f1 {SECRETS}/gate/htpasswd").split() == [
        *(f"{SECRETS}/keys:", "default", f"{SECRETS}/passwords:", "team", "team")
    ]
