"""A backup's secrets and data go to a host installed anew: real files, real openssl and htpasswd."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.backup import Manifest, Spoilt
from tandem.domain.rollout import Slot, State, adopt
from tandem.hostside import certificates, restore, restore_parts, secrets, x509
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Store
from tests.unit.serving import program, unit_block

NAMES = ["chat.example"]
CA_FILE = certificates.CA_FILE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture(autouse=True)
def no_gate_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "systemctl", f"cat <<'END'\n{unit_block('tandem-gate', 'inactive', 'dead')}END\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")


def made(root: Path, kind: str, users: tuple[str, ...] = ("team",)) -> Paths:
    """A host after its first install; whoever it asks for a certificate has not answered yet."""
    paths = Paths(root, {"tandem-gate": 1})
    order: dict[str, Any] = {"users": users, "clients": ["default"], "names": NAMES, "certificate": {"kind": kind}}
    paths.secrets.parent.mkdir(parents=True)
    secrets.ensure(paths.secrets, **order, given={})
    paths.certificate.write_text(json.dumps({"names": NAMES, "certificate": {"kind": kind}}))
    return paths


@pytest.mark.parametrize("kind", ["generated", "acme"])
def test_browsers_that_trust_the_old_host_trust_the_new_one(tmp_path: Path, kind: str) -> None:
    old, new = made(tmp_path / "old", kind), made(tmp_path / "new", kind)
    restore_parts.put_secrets(new, old.secrets)
    trusted = (old.secrets / CA_FILE).read_text()
    assert (new.secrets / CA_FILE).read_text() == trusted
    serves = certificates.current(Store(new.secrets))
    assert serves is not None
    assert x509.signed_by(serves.chain[0], trusted)


def test_what_an_authority_of_others_has_signed_stays(tmp_path: Path) -> None:
    old, new = made(tmp_path / "old", "acme"), made(tmp_path / "new", "acme")
    elsewhere = made(tmp_path / "elsewhere", "acme")
    issued = (elsewhere.secrets / certificates.TLS).read_text()
    (new.secrets / certificates.TLS).write_text(issued)
    restore_parts.put_secrets(new, old.secrets)
    assert (new.secrets / certificates.TLS).read_text() == issued


def test_what_people_and_programs_know_comes_back_and_the_engines_key_stays(tmp_path: Path) -> None:
    old, new = made(tmp_path / "old", "generated", ("team", "ada")), made(tmp_path / "new", "generated")
    upstream = new.upstream_key.read_text()
    assert restore_parts.put_secrets(new, old.secrets) == [
        "left out passwords/ada: the inventory of this host does not name it"
    ]
    for name in ("passwords/team", "keys/default", "webui_admin_password", "webui_secret_key", "gate_secret"):
        assert (new.secrets / name).read_text() == (old.secrets / name).read_text(), name
    assert new.upstream_key.read_text() == upstream
    derived = (new.secrets / "webui/env").read_text()
    assert upstream.strip() in derived
    assert (old.secrets / "webui_secret_key").read_text().strip() in derived


def test_a_failed_restore_leaves_the_secrets_as_they_were(tmp_path: Path) -> None:
    old, new = made(tmp_path / "old", "generated"), made(tmp_path / "new", "generated")
    before = {path: path.read_bytes() for path in sorted(new.secrets.rglob("*")) if path.is_file()}
    kept = tmp_path / "kept"
    shutil.copytree(new.secrets, kept)
    restore_parts.put_secrets(new, old.secrets)
    assert {path: path.read_bytes() for path in before} != before
    restore_parts.put_back(new, kept)
    assert {path: path.read_bytes() for path in sorted(new.secrets.rglob("*")) if path.is_file()} == before


def test_an_authority_whose_key_is_another_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    old, new = made(tmp_path / "old", "generated"), made(tmp_path / "new", "generated")
    (old.secrets / certificates.OWN_CA_KEY).write_text((new.secrets / certificates.OWN_CA_KEY).read_text())
    before = (new.secrets / "passwords/team").read_text()
    with pytest.raises(Spoilt, match="do not belong together"):
        restore_parts.put_secrets(new, old.secrets)
    assert (new.secrets / "passwords/team").read_text() == before


def test_the_page_is_started_again_also_when_the_gate_takes_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = made(tmp_path / "old", "generated"), made(tmp_path / "new", "generated")
    said = tmp_path / "said"
    show = f"cat <<'END'\n{unit_block('tandem-gate', 'active', 'running')}END\n"
    program(tmp_path / "bin", "systemctl", f'echo "$@" >>{said}; [ $1 != try-reload-or-restart ] || exit 1; {show}')
    live, taken = new.root / "var/lib/tandem/webui/blue", tmp_path / "taken"
    for folder, text in ((live, "of this host"), (taken, "of the backup")):
        folder.mkdir(parents=True)
        (folder / "webui.db").write_text(text)
    (new.root / "var/lib/tandem/backup").mkdir()
    backup = restore.Taken(taken, old.secrets, tmp_path, Manifest("old", "", "", "", "", 0, 0, {}))
    now = adopt(State(), "blue", Slot("a", "0" * 16, (18100,), 100), 18300)[0]
    with pytest.raises(subprocess.CalledProcessError):
        restore._switch(new, "blue", now, backup, lambda _line: None)
    orders = [line for line in said.read_text().splitlines() if "open-webui" in line]
    assert orders[-1] == "start open-webui-blue.service"
    assert (live / "webui.db").read_text() == "of this host"
