"""A certificate from a real ACME authority (pebble), by the real dehydrated, with Nginx answering the challenge."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.hostside import certificates, renewal, x509
from tandem.hostside.certificates import Pair
from tandem.hostside.paths import Paths
from tandem.hostside.renewal import NotRenewed
from tandem.hostside.secret_files import Owners, Store
from tests.faults.authority import Pebble, pebble
from tests.unit.nginx_process import free_ports, nginx

ROOT = Path(__file__).resolve().parents[2]
OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
NAMES = ["chat.example"]
DOOR = """
worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log {log};
    client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{
        listen 127.0.0.1:{port};
        location ^~ /.well-known/acme-challenge/ {{ alias {challenges}/; default_type text/plain; }}
        location / {{ return 308 https://$host$request_uri; }}
    }}
}}
"""
RENEW = """
import os, sys
from pathlib import Path
from tandem.hostside import renewal
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners
owners = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
renewal.renew(Paths(Path(sys.argv[1])), "test", print, owners)
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("authority") / "pebble") as running:
        yield running


@pytest.fixture
def paths(tmp_path: Path, authority: Pebble) -> Paths:
    """A host that has been installed with a certificate of kind acme, up to the authority's answer."""
    found = Paths(tmp_path / "host")
    (found.acme / "challenges").mkdir(parents=True)
    found.acme.chmod(0o711)
    Store(found.secrets, OWNERS).make_folders()
    order(found, authority)
    certificates.settle(store(found), NAMES, wanted(found), {})
    return found


@pytest.fixture
def door(paths: Paths, authority: Pebble, tmp_path: Path) -> Iterator[Path]:
    """The edge's port 80; yields its access log."""
    log = tmp_path / "door.log"
    config = DOOR.format(port=authority.http_port, challenges=paths.acme / "challenges", log=log)
    with nginx(config, tmp_path / "nginx"):
        yield log


def order(paths: Paths, authority: Pebble, names: list[str] = NAMES) -> None:
    certificate = {"kind": "acme", "email": "admin@chat.example", "directory": authority.directory}
    certificate["authority"] = authority.trusted_by
    paths.certificate.write_text(json.dumps({"names": names, "certificate": certificate}))


def wanted(paths: Paths) -> dict[str, str]:
    found: dict[str, str] = json.loads(paths.certificate.read_text())["certificate"]
    return found


def store(paths: Paths) -> Store:
    return Store(paths.secrets, OWNERS)


def renew(paths: Paths, told: list[str] | None = None) -> str:
    return renewal.renew(paths, "test", (told if told is not None else []).append, OWNERS)


def served(paths: Paths) -> Pair:
    pair = certificates.current(store(paths))
    assert pair is not None
    return pair


def test_the_authoritys_certificate_replaces_the_stand_in_with_the_same_key_and_is_got_once(
    paths: Paths, door: Path
) -> None:
    key, told = served(paths).key, list[str]()
    assert certificates.is_own(store(paths), served(paths))
    assert renewal.look(paths).due
    assert renew(paths, told).startswith("renewed: the certificate for chat.example is valid until ")
    pair = served(paths)
    assert not certificates.is_own(store(paths), pair)
    assert (pair.key, pair.belongs, sorted(pair.leaf.names), len(pair.chain)) == (key, True, NAMES, 2)
    assert (paths.secrets / "edge/ca.crt").read_text() == pair.chain[-1]
    assert any("Challenge is valid" in line for line in told)
    assert door.read_text().count("/.well-known/acme-challenge/") >= len(NAMES)
    before = pair.text, door.read_text()
    assert renew(paths).startswith("nothing to do: ")
    assert not renewal.look(paths).due
    assert (served(paths).text, door.read_text()) == before


def test_keys_stay_with_root_and_nothing_is_left_in_the_challenge_folder(paths: Paths, door: Path) -> None:
    renew(paths)
    private = served(paths).key.splitlines()[1]
    for path in [path for path in paths.acme.rglob("*") if path.is_file()]:
        assert private not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0, path
    assert (paths.acme / "accounts").stat().st_mode & 0o777 == 0o700
    assert list((paths.acme / "challenges").iterdir()) == []


def test_install_keeps_the_authoritys_certificate_and_one_put_away_by_hand_comes_back_without_an_order(
    paths: Paths, door: Path
) -> None:
    renew(paths)
    pair, asked = served(paths), door.read_text()
    settling = store(paths)
    certificates.settle(settling, NAMES, wanted(paths), {})
    assert settling.changed == []
    (paths.secrets / "edge/tls.pem").write_text(pair.key)
    certificates.settle(settling, NAMES, wanted(paths), {})
    assert certificates.is_own(settling, served(paths))
    assert renew(paths).startswith("renewed: ")
    assert (served(paths).text, door.read_text()) == (pair.text, asked)


def test_other_names_and_another_authority_are_reasons_to_order_again(
    paths: Paths, authority: Pebble, door: Path, tmp_path: Path
) -> None:
    renew(paths)
    first = served(paths)
    order(paths, authority, [*NAMES, "www.chat.example"])
    assert renew(paths).startswith("renewed: the certificate for chat.example, www.chat.example")
    assert served(paths).key == first.key
    # One that gives days only is not asked again before two thirds of them have gone.
    with pebble(tmp_path / "short", validity_days=6, http_port=authority.http_port) as short:
        order(paths, short)
        assert renew(paths).startswith("renewed: ")
        assert 5 < served(paths).leaf.days_left <= 6
        assert renew(paths).startswith("nothing to do: ")


def test_an_authority_that_is_not_there_leaves_the_old_certificate_and_says_so(
    paths: Paths, authority: Pebble, door: Path
) -> None:
    renew(paths)
    before = served(paths).text
    [port] = free_ports(1)
    order(paths, replace(authority, directory=f"https://127.0.0.1:{port}/dir"))
    with pytest.raises(NotRenewed) as failure:
        renew(paths)
    assert f"no certificate from https://127.0.0.1:{port}/dir: https://127.0.0.1:{port}/dir: nobody answers there." in (
        str(failure.value)
    )
    assert "The one in use stays, valid until " in str(failure.value)
    assert served(paths).text == before


def test_a_stand_in_is_renewed_while_its_authority_is_silent(paths: Paths, authority: Pebble) -> None:
    secrets, key = paths.secrets, served(paths).key
    aged = x509.make_leaf(key, NAMES, secrets / "tls/ca.crt", secrets / "tls/ca.key", days=20)
    (secrets / "edge/tls.pem").write_text(key + aged)
    with pytest.raises(NotRenewed, match="The host's own certificate stays in use meanwhile"):
        renew(paths)
    assert (served(paths).key, served(paths).leaf.days_left > 300) == (key, True)


def test_an_authority_that_is_not_trusted_is_not_asked(paths: Paths, authority: Pebble, door: Path) -> None:
    order(paths, replace(authority, trusted_by=""))
    with pytest.raises(NotRenewed, match="its certificate is not trusted here; edge/certificate/authority can name"):
        renew(paths)


def test_a_challenge_that_nobody_answers_is_told_in_the_authoritys_own_words(paths: Paths) -> None:
    before = served(paths).text
    with pytest.raises(NotRenewed) as failure:
        renew(paths)
    assert "connection refused" in str(failure.value)
    assert "The host's own certificate stays in use meanwhile, valid until " in str(failure.value)
    assert "http://chat.example/.well-known/acme-challenge/ on port 80" in str(failure.value)
    assert served(paths).text == before
    assert list((paths.acme / "challenges").iterdir()) == []


@pytest.mark.parametrize("moment", ["account_key.pem", "registration_info.json", "request-", "challenges/"])
def test_a_run_killed_at_any_moment_is_finished_by_the_next(paths: Paths, door: Path, moment: str) -> None:
    before = served(paths).text
    killed = subprocess.Popen([sys.executable, "-c", RENEW, str(paths.root)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while killed.poll() is None and not seen(paths, moment):
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    end = time.monotonic() + 10
    while using(paths.acme / "dehydrated.conf"):
        assert time.monotonic() < end, "dehydrated outlived the program that had started it"
        time.sleep(0.02)
    assert served(paths).text == before
    assert renew(paths).startswith("renewed: ")
    assert not certificates.is_own(store(paths), served(paths))
    assert list((paths.acme / "challenges").iterdir()) == []


def seen(paths: Paths, moment: str) -> bool:
    return any(moment in str(path.relative_to(paths.acme)) for path in paths.acme.rglob("*"))


def using(path: Path) -> list[Path]:
    """The processes that have this path among their arguments."""
    found = []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(path).encode() in arguments.read_bytes():
                found.append(arguments)
        except OSError:
            continue
    return found
