"""Secrets as they are on a host: real files, real htpasswd, real openssl."""

import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tandem.domain.secrets import BASE, directories, files, paths
from tandem.hostside import certificates
from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import SecretError, credentials, ensure, revision

OWNERS = Owners(os.getuid(), os.getgid(), os.getgid())
NAMES = ["ai.example", "10.0.0.5", "fd00::5"]


def make(
    root: Path, given: dict[str, str] | None = None, names: list[str] | None = None, user: str = "team"
) -> list[str]:
    return ensure(root, basic_user=user, api_client="default", names=names or NAMES, given=given or {}, owners=OWNERS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "secrets"
    make(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of one set of secrets; making one takes most of a second."""
    return Path(shutil.copytree(made, tmp_path / "secrets"))


def test_a_second_call_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert make(root) == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_exactly_the_files_of_the_table_exist_with_its_modes(root: Path) -> None:
    wanted = {name: mode for name, mode, _, _ in files()}
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert {name: f"{path.stat().st_mode & 0o7777:04o}" for name, path in found.items()} == wanted
    for name, mode, _, _ in directories():
        assert f"{(root / name).stat().st_mode & 0o7777:04o}" == mode
    assert [path for path, *_ in paths()] == [f"/etc/tandem/secrets/{name}" for name in wanted]


def test_generated_secrets_are_long_and_all_different(root: Path) -> None:
    values = [(root / name).read_text().strip() for name in BASE]
    assert len(set(values)) == len(BASE)
    assert all(len(value) >= 24 and re.fullmatch(r"[A-Za-z0-9_-]+", value) for value in values)
    assert re.fullmatch(r"sk-tandem-[0-9a-f]{48}", (root / "api_key").read_text().strip())


def test_credentials_are_what_the_files_hold(root: Path) -> None:
    logins = credentials(root)
    assert logins["basic_user"] == "team"
    assert logins["api_key"] == (root / "api_key").read_text().strip()
    assert Path(logins["ca_file"]).is_file()


def test_given_secrets_replace_generated_ones_once(root: Path) -> None:
    given = {"api_key": "Key-Of-Mine-0123456789", "basic_password": "correct-horse-battery\n"}
    changed = make(root, given)
    assert {"api_key", "basic_password", "edge/htpasswd", "edge/api_keys.conf", "edge/revision.conf"} <= set(changed)
    assert not {"webui_secret_key", "upstream_key", "engine/env", "edge/tls.key"} & set(changed)
    assert make(root, given) == []
    assert make(root) == []
    assert credentials(root)["basic_password"] == "correct-horse-battery"


def test_a_new_password_closes_the_gate_for_old_cookies(root: Path) -> None:
    gate = (root / "gate").read_text()
    make(root, {"basic_password": "correct-horse-battery"})
    assert (root / "gate").read_text() != gate
    gate = (root / "gate").read_text()
    make(root, {"basic_password": "correct-horse-battery"}, user="others")
    assert (root / "gate").read_text() != gate
    assert make(root, user="others") == []


@pytest.mark.parametrize(
    ("damage", "repaired"),
    [
        ("rm edge/gate.conf", ["edge/gate.conf"]),
        ("echo x >> edge/htpasswd", ["edge/htpasswd"]),
        ("chmod 0644 edge/htpasswd", ["edge/htpasswd"]),
        ("chmod 0755 edge", ["edge/"]),
        ("echo spoilt > edge/tls.crt", ["edge/tls.crt", "edge/tls.key"]),
        ("chmod 0666 gate", ["gate"]),
        ("rm webui/env", ["webui/env"]),
        ("echo > edge/revision.conf", ["edge/revision.conf"]),
        ("rm -r engine", ["engine/", "engine/env"]),
    ],
)
def test_what_was_changed_by_hand_is_repaired_and_nothing_else(root: Path, damage: str, repaired: list[str]) -> None:
    subprocess.run(["sh", "-c", damage], cwd=root, check=True)
    changed = make(root)
    assert set(repaired) <= set(changed)
    assert set(changed) - set(repaired) <= {"edge/revision.conf"}
    assert make(root) == []


def test_the_certificate_names_the_host_and_is_trusted_through_the_ca(root: Path) -> None:
    leaf = str(root / "edge/tls.crt")
    for check in (["-verify_ip", "10.0.0.5"], ["-verify_ip", "fd00::5"], ["-verify_hostname", "ai.example"]):
        command = ["openssl", "verify", *check, "-purpose", "sslserver", "-x509_strict"]
        subprocess.run([*command, "-CAfile", str(root / "edge/ca.crt"), leaf], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf, root / "edge/tls.key")


def test_the_certificate_is_renewed_for_other_names_or_near_its_end_and_the_ca_stays(root: Path) -> None:
    authority = (root / "edge/ca.crt").read_text()
    assert set(make(root, names=["other.example"])) == {"edge/tls.key", "edge/tls.crt", "edge/revision.conf"}
    assert make(root, names=["other.example"]) == []
    key = (root / "edge/tls.key").read_text()
    short = certificates.make_leaf(key, ["other.example"], root / "tls/ca.crt", root / "tls/ca.key", days=29)
    (root / "edge/tls.crt").write_text(short)
    assert "edge/tls.crt" in make(root, names=["other.example"])
    assert (root / "edge/ca.crt").read_text() == authority


def test_the_revision_follows_what_nginx_loads_and_ignores_the_password_file(root: Path) -> None:
    first = revision(root)
    (root / "edge/htpasswd").unlink()
    assert make(root) == ["edge/htpasswd"]
    assert revision(root) == first
    make(root, {"api_key": "sk-another-key-of-mine"})
    assert revision(root) != first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"given": {"gate": "x" * 64}}, "'gate' cannot be given"),
        ({"given": {"api_key": 'hunter2"; evil'}}, "the given api_key must be 16 to 200"),
        ({"given": {"basic_password": "hunter2"}}, "the given basic_password must be 12 to 72"),
        ({"given": {"webui_admin_password": "hunter2 hunter2"}}, "the given webui_admin_password must be"),
        ({"names": []}, "certificate needs"),
        ({"names": ["a\nsubjectAltName=b"]}, "certificate needs"),
        ({"basic_user": "a:b"}, "basic_user 'a:b'"),
        ({"api_client": "a;b"}, "api_client 'a;b'"),
    ],
)
def test_bad_arguments_are_refused_before_a_file_is_made(tmp_path: Path, change: dict[str, object], named: str) -> None:
    arguments = {"basic_user": "team", "api_client": "default", "names": NAMES, "given": {}, **change}
    with pytest.raises(SecretError) as error:
        ensure(tmp_path / "secrets", owners=OWNERS, **arguments)  # type: ignore[arg-type]
    assert named in str(error.value)
    assert "nothing was changed" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert not (tmp_path / "secrets").exists()


def test_credentials_before_install_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="run install first"):
        credentials(tmp_path)


def test_no_program_gets_a_secret_as_an_argument(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, log = tmp_path / "bin", tmp_path / "argv"
    programs.mkdir()
    for name in ("openssl", "htpasswd"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $*" >>{log}\nexec {real} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    make(root, {"basic_password": "correct-horse-battery", "api_key": "sk-another-key-of-mine"}, names=["b.example"])
    seen = log.read_text()
    values = [(root / name).read_text().strip() for name in BASE]
    assert "htpasswd" in seen
    assert "openssl" in seen
    assert not [value for value in values if value in seen]
