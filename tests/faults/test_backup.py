"""People and chats survive their host: backed up, brought to a host made anew, found again by who left them."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost

NAME = "bak1"
SITE = "tests/faults/deploys/backup.py"
DATA = "/var/lib/tandem/webui/blue"


def made_anew() -> None:
    """Its cards never matter: one that has always had its driver is made fastest."""
    host.remove(STATE, NAME)
    host.create(STATE, NAME, lambda _sentence: None, blank=False)
    host.boot(STATE, NAME)


@pytest.fixture(scope="module")
def there() -> Iterator[OnHost]:
    made_anew()
    yield OnHost(NAME)
    host.remove(STATE, NAME)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "identity"
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("work"))


@cache
def recipient(key: Path) -> str:
    return subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True).stdout.strip()


def deploy(work: Workplace, key: Path, file: str, *options: str) -> Ended:
    return work.run(work.inventory(NAME, {"backup": {"recipients": [recipient(key)]}}), file, *options)


def restored(work: Workplace, key: Path, archive: Path, *options: str, identity: Path | None = None) -> Ended:
    words = [word for option in options for word in ("--data", option)]
    given = ["--data", f"from={archive}", "--data", f"identity={identity or key}"]
    return deploy(work, key, "deploys/restore.py", *given, *words)


@pytest.fixture(scope="module")
def archive(there: OnHost, work: Workplace, key: Path) -> Path:
    """A backup of two people, who have left three chats, fetched."""
    ended = deploy(work, key, SITE)
    assert ended.status == 0, ended.output
    there.program("webui_people", {"add": [["bo", "Bos-own-password-1"]], "chats": {"admin": 1, "bo": 2}})
    ended = deploy(work, key, "deploys/backup.py")
    assert ended.status == 0, ended.output
    assert "the administrator signed in; 2 people, 3 chats, one of them read" in ended.output
    (found,) = (work.folder / "backups").glob("tandem-bak1-*.tar.age")
    return found


def people(there: OnHost) -> dict[str, int]:
    """Chats by person, as each finds them after signing in with the password they had."""
    found: dict[str, int] = there.program("webui_people", {"sign_in": [["bo", "Bos-own-password-1"]]})
    return found


def secret(there: OnHost, name: str) -> str:
    return there.shell(f"cat /etc/tandem/secrets/{name}").strip()


def test_a_backup_leaves_no_plain_copy_and_no_scratch_webui(there: OnHost, archive: Path) -> None:
    assert there.shell("find /var/lib/tandem/backup -mindepth 1; podman ps -a --format '{{.Names}}'").split() == [
        "open-webui-blue"
    ]
    assert there.shell("systemctl list-units --all --no-legend 'tandem-scratch*'") == ""
    assert b"a chat of bo" not in archive.read_bytes()


def test_the_timers_service_makes_one_inside_its_walls(there: OnHost, archive: Path) -> None:
    there.shell("systemctl start tandem-backup.service")
    assert "2 people, 3 chats" in there.shell("tandemctl backup list")
    assert "warning" not in there.shell("tandemctl backup list")
    assert "2 people, 3 chats, one of them read" in there.shell("tandemctl backup verify </dev/null")


def test_killed_in_the_middle_the_next_one_leaves_nothing_behind(there: OnHost, archive: Path) -> None:
    for seconds in ("0.5", "1.5", "8"):
        there.shell(f"timeout -s KILL {seconds} tandemctl backup run >/dev/null 2>&1 </dev/null || true")
    there.shell("tandemctl backup run </dev/null")
    assert there.shell("find /var/lib/tandem/backup -mindepth 1; find /var/backups/tandem -name '.*' -type f") == ""
    assert there.shell("systemctl list-units --all --no-legend 'tandem-scratch*'") == ""


def test_users_data_is_never_replaced_without_consent(
    there: OnHost, work: Workplace, key: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = restored(work, key, archive)
    assert refused.status != 0
    assert "2 people, 3 chats; nothing was changed" in refused.output, refused.output
    other = tmp_path / "other"
    subprocess.run(["age-keygen", "-o", str(other)], check=True, capture_output=True)
    wrong = restored(work, key, archive, "replace=true", identity=other)
    assert wrong.status != 0
    assert "can't be opened" in wrong.output
    # Where age is missing on this machine, the host is given the identity, and finds the same.
    monkeypatch.setenv("PATH", str(tmp_path))
    there_too = restored(work, key, archive, "replace=true", identity=other)
    monkeypatch.undo()
    assert there_too.status != 0
    assert "this identity is not one of those that it was encrypted to" in there_too.output
    assert other.read_text().splitlines()[-1] not in there_too.output + repr(there_too.events)
    assert people(there) == {"admin": 1, "bo": 2}


def test_people_and_chats_are_back_on_a_host_made_anew(
    there: OnHost, work: Workplace, key: Path, archive: Path
) -> None:
    passwords = {name: secret(there, name) for name in ("passwords/team", "keys/default", "webui_admin_password")}
    made_anew()
    ended = deploy(work, key, SITE)
    assert ended.status == 0, ended.output
    before, upstream = secret(there, "passwords/team"), secret(there, "upstream_key")
    assert before != passwords["passwords/team"]

    tried = restored(work, key, archive, "scratch=true")
    assert tried.status == 0, tried.output
    assert "Nothing was changed" in tried.output
    assert secret(there, "passwords/team") == before

    ended = restored(work, key, archive)
    assert ended.status == 0, ended.output
    assert people(there) == {"admin": 1, "bo": 2}
    assert {name: secret(there, name) for name in passwords} == passwords
    for value in (*passwords.values(), key.read_text().splitlines()[-1]):
        assert value not in ended.output + repr(ended.events)

    # What belongs to this host stays: its engines' key, also where Open WebUI keeps it.
    assert secret(there, "upstream_key") == upstream
    assert there.program("webui_people", {"upstream": True}) == {"keys": [upstream]}
    assert re.search(r"blue\.before-\d{8}T\d{6}Z", there.shell("ls /var/lib/tandem/webui"))
    again = deploy(work, key, SITE)
    assert (again.status, again.changed) == (0, []), again.output
