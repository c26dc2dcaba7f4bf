"""Secrets as they are on a host: real files, real htpasswd, real openssl, and Nginx's word on what is made of them."""

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.secrets import base, directories, files, paths
from tandem.hostside import rotation
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import SecretError, credentials, due, ensure, revision
from tandem.hostside.units import known_secrets

OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
NAMES = ["ai.example", "10.0.0.5", "fd00::5"]
USERS, CLIENTS = ["alice", "default"], ["bot", "ci"]
"""``default`` is also a word of Nginx's maps."""

PASSWORD = "correct-horse-battery"


def make(root: Path, given: dict[str, str] | None = None, **change: Any) -> list[str]:
    order = {"users": USERS, "clients": CLIENTS, "names": NAMES, "certificate": {"kind": "generated"}, **change}
    return ensure(root, **order, given=given or {}, owners=OWNERS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "secrets"
    make(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of one set of secrets; making one takes most of a second."""
    return Path(shutil.copytree(made, tmp_path / "secrets"))


def text(root: Path, name: str) -> str:
    return (root / name).read_text().strip()


def cookies(root: Path) -> dict[str, str]:
    """Token by "current:USER" and "previous:USER"."""
    found = re.findall(r'^    ([0-9a-f]{64}) "(\w+:[^"]+)";$', text(root, "gate/people.conf"), re.MULTILINE)
    return {whose: token for token, whose in found}


def test_a_second_call_changes_nothing(root: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    order: dict[str, Any] = {"users": USERS, "clients": CLIENTS, "names": NAMES, "given": {}, "owners": OWNERS}
    assert due(root, scratch=tmp_path, certificate={"kind": "generated"}, **order) == []
    assert make(root) == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_exactly_the_files_of_the_table_exist_with_its_modes(root: Path) -> None:
    wanted = {name: mode for name, mode, _, _ in files(USERS, CLIENTS)}
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert {name: f"{path.stat().st_mode & 0o7777:04o}" for name, path in found.items()} == wanted
    for name, mode, _, _ in directories():
        assert f"{(root / name).stat().st_mode & 0o7777:04o}" == mode
    assert [path for path, *_ in paths(USERS, CLIENTS)] == [f"/etc/tandem/secrets/{name}" for name in wanted]


def test_generated_secrets_are_long_and_all_different(root: Path) -> None:
    names = base(USERS, CLIENTS)
    values = [text(root, name) for name in names]
    assert len(set(values)) == len(names) == 9
    assert all(len(value) >= 24 and re.fullmatch(r"[A-Za-z0-9_-]+", value) for value in values)
    assert re.fullmatch(r"sk-tandem-[0-9a-f]{48}", text(root, "keys/ci"))


def test_credentials_are_what_the_files_hold(root: Path) -> None:
    logins = credentials(root)
    assert logins["passwords"] == {user: text(root, f"passwords/{user}") for user in USERS}
    assert logins["keys"] == {client: text(root, f"keys/{client}") for client in CLIENTS}
    assert logins["webui_admin_password"] == text(root, "webui_admin_password")
    assert Path(logins["ca_file"]).is_file()


def test_given_secrets_replace_generated_ones_once(root: Path) -> None:
    given = {"keys/ci": "Key-Of-Mine-0123456789", "passwords/alice": f"{PASSWORD}\n"}
    assert set(make(root, given)) == {
        *("keys/ci", "passwords/alice", "gate/htpasswd", "gate/keys.conf", "gate/people.conf", "gate/revision.conf")
    }
    assert make(root, given) == []
    assert make(root) == []
    assert credentials(root)["passwords"]["alice"] == PASSWORD


def test_another_key_is_one_other_line_and_no_business_of_the_edge(root: Path) -> None:
    before, edge, gate = text(root, "gate/keys.conf"), revision(root), revision(root, "tandem-gate")
    make(root, {"keys/ci": "sk-another-key-of-mine"})
    after = text(root, "gate/keys.conf")
    gone, come = (set(a.splitlines()) - set(b.splitlines()) for a, b in ((before, after), (after, before)))
    assert len(gone) == 1
    assert come == {'    "Bearer sk-another-key-of-mine" "ci|Bearer sk-another-key-of-mine";'}
    assert revision(root) == edge
    assert revision(root, "tandem-gate") != gate


def test_another_password_ends_the_cookies_of_that_user_alone(root: Path) -> None:
    before = cookies(root)
    others_hash = text(root, "gate/htpasswd").splitlines()[1]
    make(root, {"passwords/alice": PASSWORD})
    after = cookies(root)
    assert sorted(after) == ["current:alice", "current:default", "previous:alice", "previous:default"]
    assert len({*after.values(), *before.values()}) == 6
    assert {whose for whose in after if after[whose] == before[whose]} == {"current:default", "previous:default"}
    assert text(root, "gate/htpasswd").splitlines()[1] == others_hash


def test_what_a_look_that_was_cut_short_left_behind_is_removed_by_a_later_one(root: Path, tmp_path: Path) -> None:
    old, fresh = tmp_path / ".tandem-secrets-old", tmp_path / ".tandem-secrets-fresh"
    for left in (old, fresh):
        shutil.copytree(root, left / "secrets")
    os.utime(old, (0, 0))
    order: dict[str, Any] = {"users": USERS, "clients": CLIENTS, "names": NAMES, "given": {}, "owners": OWNERS}
    assert due(root, scratch=tmp_path, certificate={"kind": "generated"}, **order) == []
    assert (old.exists(), fresh.exists()) == (False, True)


def test_who_is_no_longer_named_is_forgotten(root: Path) -> None:
    before = cookies(root)
    changed = make(root, users=["alice", "carol"], clients=["bot"])
    assert {"passwords/default (removed)", "keys/ci (removed)", "passwords/carol"} <= set(changed)
    assert sorted(credentials(root)["passwords"]) == ["alice", "carol"]
    assert list(credentials(root)["keys"]) == ["bot"]
    assert [line.partition(":")[0] for line in text(root, "gate/htpasswd").splitlines()] == ["alice", "carol"]
    assert before["current:alice"] == cookies(root)["current:alice"]
    assert not {before["current:default"], before["previous:default"]} & set(cookies(root).values())
    assert make(root, users=["alice", "carol"], clients=["bot"]) == []
    assert make(root, users=["carol", "alice"], clients=[]) != []
    assert make(root, users=["carol", "alice"], clients=[]) == []
    assert credentials(root)["keys"] == {}


def test_every_password_opens_with_its_own_line(root: Path) -> None:
    for user in USERS:
        verify = ["htpasswd", "-v", "-i", str(root / "gate/htpasswd"), user]
        for password, status in ((text(root, f"passwords/{user}"), 0), (PASSWORD, 3)):
            done = subprocess.run(verify, input=password, text=True, capture_output=True, check=False)
            assert done.returncode == status
    assert all(re.fullmatch(r"\w+:\$2y\$06\$.{53}", line) for line in text(root, "gate/htpasswd").splitlines())


def test_nginx_loads_what_is_made_for_it(root: Path, tmp_path: Path) -> None:
    """Also a key of the greatest length, and a user whose name is a word of Nginx's."""
    make(root, {"keys/ci": "k" * 200})
    includes = "".join(f"include {root}/{name};" for name in ("gate/*.conf", "edge/groups.conf", "edge/upstream.conf"))
    conf = tmp_path / "conf"
    conf.write_text(f"pid {tmp_path}/pid; events {{}} http {{ map_hash_bucket_size 512; {includes} }}")
    command = ["nginx", "-t", "-q", "-e", "stderr", "-p", str(tmp_path), "-c", str(conf)]
    (root / "edge/revision.conf").rename(root / "edge/aside")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_post_quantum_group_is_named_where_openssl_has_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, programs = shutil.which("openssl"), tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for version, first in (("3.0.17", "X25519"), ("3.5.4", "X25519MLKEM768"), ("4.0.0", "X25519MLKEM768")):
        said = f'echo "OpenSSL {version} 1 Sep 2026 (Library: OpenSSL {version})"'
        (programs / "openssl").write_text(f'#!/bin/sh\n[ "$*" = version ] && {said} || exec {real} "$@"\n')
        (programs / "openssl").chmod(0o755)
        make(root)
        line = text(root, "edge/groups.conf")
        assert re.fullmatch(r"ssl_ecdh_curve [\w:]*X25519:prime256v1:secp384r1;", line)
        assert line.split()[1].split(":")[0] == first


@pytest.mark.parametrize(
    ("damage", "repaired"),
    [
        ("rm gate/people.conf", ["gate/people.conf"]),
        ("echo x >> gate/htpasswd", ["gate/htpasswd"]),
        ("sed -i 1d gate/htpasswd", ["gate/htpasswd"]),
        ("chmod 0644 gate/htpasswd", ["gate/htpasswd"]),
        ("chmod 0755 edge", ["edge/"]),
        ("chmod 0755 gate passwords", ["gate/", "passwords/"]),
        ("echo spoilt > edge/tls.pem", ["edge/tls.pem"]),
        ("chmod 0666 gate_secret", ["gate_secret"]),
        ("rm webui/env", ["webui/env"]),
        ("echo > edge/revision.conf", ["edge/revision.conf"]),
        ("rm -r engine", ["engine/", "engine/env"]),
        (
            "rm -r gate; echo x > gate",
            ["gate/", *(f"gate/{name}" for name in ("htpasswd", "keys.conf", "people.conf"))],
        ),
        ("echo x > keys/stranger", ["keys/stranger (removed)"]),
        ("echo x > keys/.ci.0a1b.new", []),
    ],
)
def test_what_was_changed_by_hand_is_repaired_and_nothing_else(root: Path, damage: str, repaired: list[str]) -> None:
    subprocess.run(["sh", "-c", damage], cwd=root, check=True)
    changed = make(root)
    assert set(repaired) <= set(changed)
    assert set(changed) - set(repaired) <= {"gate/revision.conf"}
    assert make(root) == []
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == {
        name for name, *_ in files(USERS, CLIENTS)
    }


def test_the_certificate_names_the_host_and_is_trusted_through_the_ca(root: Path) -> None:
    leaf = str(root / "edge/tls.pem")
    for check in (["-verify_ip", "10.0.0.5"], ["-verify_ip", "fd00::5"], ["-verify_hostname", "ai.example"]):
        command = ["openssl", "verify", *check, "-purpose", "sslserver", "-x509_strict"]
        subprocess.run([*command, "-CAfile", str(root / "edge/ca.crt"), leaf], check=True, capture_output=True)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(leaf)


def test_the_certificate_is_renewed_for_other_names_and_the_ca_stays(root: Path) -> None:
    authority, served = text(root, "edge/ca.crt"), (revision(root), revision(root, "tandem-gate"))
    assert make(root, names=["other.example"]) == ["edge/tls.pem"]
    assert make(root, names=["other.example"]) == []
    assert text(root, "edge/ca.crt") == authority
    assert (revision(root), revision(root, "tandem-gate")) == served


def test_the_revision_follows_what_nginx_loads_and_ignores_the_password_file(root: Path) -> None:
    first = revision(root, "tandem-gate")
    (root / "gate/htpasswd").unlink()
    assert make(root) == ["gate/htpasswd"]
    assert revision(root, "tandem-gate") == first
    make(root, {"passwords/alice": PASSWORD})
    assert revision(root, "tandem-gate") != first


def old_host(root: Path) -> dict[str, str]:
    """Its secrets as a host had them that knew one user and one client; ``gate`` was a file."""
    old = {"api_key": "sk-tandem-in-every-program", "basic_password": "in-everybodys-browser", "gate": "f" * 64}
    old |= {"upstream_key": "a" * 64, "webui_secret_key": "b" * 64, "webui_admin_password": "the-administrators-own"}
    (root / "edge").mkdir(parents=True)
    for name, value in old.items():
        (root / name).write_text(f"{value}\n")
        (root / name).chmod(0o600)
    return old


@pytest.mark.parametrize("cut_after", [0, 4, 8, 12, 17, 21])
def test_a_host_from_before_keeps_its_password_and_its_key(tmp_path: Path, cut_after: int) -> None:
    root = tmp_path / "secrets"
    old = old_host(root)
    cut_short(lambda: make(root), cut_after)
    make(root)
    assert make(root) == []
    logins = credentials(root)
    assert logins["passwords"]["alice"] == old["basic_password"]
    assert logins["keys"]["bot"] == old["api_key"]
    assert {name: text(root, name) for name in old if "_key" in name[6:] or name.startswith("webui")} == {
        name: old[name] for name in ("upstream_key", "webui_secret_key", "webui_admin_password")
    }
    assert not [name for name in ("api_key", "basic_password") if (root / name).exists()]


def test_what_is_given_comes_before_what_an_old_host_has(tmp_path: Path) -> None:
    old_host(tmp_path / "secrets")
    make(tmp_path / "secrets", {"passwords/alice": PASSWORD})
    assert credentials(tmp_path / "secrets")["passwords"]["alice"] == PASSWORD


class Cut(BaseException):
    """As if the process had died here."""


def cut_short(call: Any, after_renames: int) -> None:
    """Let ``call`` die just before one of its renames: each is where a file becomes another."""
    real, left = Path.rename, after_renames

    def rename(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1
        return Path(real(self, target))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        try:
            call()
        except Cut:
            return


@pytest.mark.parametrize("cut_after", range(0, 12, 2))
def test_a_call_cut_short_is_finished_by_the_next(root: Path, cut_after: int) -> None:
    order: dict[str, Any] = {"given": {"passwords/alice": PASSWORD}, "users": ["alice", "dora"]}
    cut_short(lambda: make(root, **order), cut_after)
    make(root, **order)
    assert make(root, **order) == []
    assert credentials(root)["passwords"]["alice"] == PASSWORD
    assert sorted(cookies(root)) == ["current:alice", "current:dora", "previous:alice", "previous:dora"]


@pytest.mark.parametrize("cut_after", range(8))
def test_a_user_whose_removal_was_cut_short_never_comes_back_by_a_rotation(tmp_path: Path, cut_after: int) -> None:
    paths = Paths(tmp_path)
    make(paths.secrets, users=["alice", "bob"])
    gone = cookies(paths.secrets)["current:bob"]
    cut_short(lambda: make(paths.secrets, users=["alice"]), cut_after)
    was_out = gone not in cookies(paths.secrets).values()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation.gate, "tell", lambda _: False)
        rotation.rotate(paths, "gate", OWNERS)
    if was_out:
        assert gone not in cookies(paths.secrets).values()
        assert "bob" not in text(paths.secrets, "gate/htpasswd")


def test_a_copy_of_a_key_that_somebody_left_beside_it_is_refused_before_nginx_would_quote_it(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make(paths.secrets)
    shutil.copy(paths.secrets / "keys/ci", paths.secrets / "keys/ci.bak")
    before = text(paths.secrets, "gate/keys.conf")
    with pytest.raises(SecretError) as refused:
        rotation.rotate(paths, "gate", OWNERS)
    assert text(paths.secrets, "keys/ci") not in str(refused.value)
    assert text(paths.secrets, "gate/keys.conf") == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"given": {"gate_secret": "x" * 64}}, "'gate_secret' cannot be given"),
        ({"given": {"keys/nobody": "x" * 64}}, "'keys/nobody' cannot be given"),
        ({"given": {"keys/ci": 'hunter2"; evil'}}, "the given keys/ci must be 16 to 200"),
        ({"given": {"passwords/alice": "hunter2"}}, "the given passwords/alice must be 12 to 72"),
        ({"given": {"webui_admin_password": "hunter2 hunter2"}}, "the given webui_admin_password must be"),
        ({"given": {"keys/ci": "hunter2-hunter2-a", "keys/bot": "hunter2-hunter2-A"}}, "keys/bot and keys/ci are the"),
        ({"names": []}, "certificate needs"),
        ({"names": ["a\nsubjectAltName=b"]}, "certificate needs"),
        ({"users": ["a:b"]}, "users: 'a:b'"),
        ({"users": ["../gate_secret"]}, "users: '../gate_secret'"),
        ({"users": []}, "at least one user"),
        ({"users": ["alice", "alice"]}, "each must be named once"),
        ({"clients": ["a;b"]}, "clients: 'a;b'"),
        ({"certificate": {"kind": "bought"}}, "'bought'"),
    ],
)
def test_bad_arguments_are_refused_before_a_file_is_made(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(Exception, match=re.escape(named)) as error:
        make(tmp_path / "secrets", **change)
    assert "nothing was changed" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert not (tmp_path / "secrets").exists()


def test_a_given_key_that_another_client_has_already_is_refused(root: Path) -> None:
    before = text(root, "gate/keys.conf")
    with pytest.raises(SecretError, match="keys/bot and keys/ci are the same key"):
        make(root, {"keys/ci": text(root, "keys/bot").upper()})
    assert text(root, "gate/keys.conf") == before


def test_credentials_before_install_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="run install first"):
        credentials(tmp_path)


def test_every_secret_is_known_to_whoever_masks_the_journal(root: Path) -> None:
    (root / "gate_secret.next").write_text("to-come\n")
    expected = {text(root, name): name for name in [*base(USERS, CLIENTS), "gate_secret.next"]}
    assert known_secrets(root) == expected


def programs_that_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> Path:
    """Real programs that first write down their command line."""
    programs, log = tmp_path / "bin", tmp_path / "argv"
    programs.mkdir()
    for name in names:
        real = shutil.which(name)
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $*" >>{log}\nexec {real} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return log


def test_no_program_gets_a_secret_as_an_argument(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = programs_that_tell(tmp_path, monkeypatch, ("openssl", "htpasswd"))
    make(root, {"passwords/alice": PASSWORD, "keys/ci": "sk-another-key-of-mine"}, names=["b.example"])
    seen = log.read_text()
    values = [text(root, name) for name in base(USERS, CLIENTS)]
    assert "htpasswd" in seen
    assert "openssl" in seen
    assert not [value for value in values if value in seen]
