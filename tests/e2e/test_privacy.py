"""Promise P7: what people ask and what opens the door is in no log, no journal, no process list and no record.

A phrase that nobody else uses goes every way that a prompt can go, and credentials with one wrong letter every way that
a person or a program can send them. Then the whole host is searched, as root and as a user without rights.
The name of a model is no prompt: vLLM writes one that it does not have to its journal.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tandem.domain import secrets
from tandem.rehearsal.rootfs import Host
from tests.e2e.install import ROOT
from tests.e2e.planting import ask_the_api, ask_the_page, forget, try_credentials
from tests.e2e.site import Site
from tests.e2e.units import on_host

LOOK = (ROOT / "tests/host/looks/leaks.py").read_text()
FOLDERS = ["/etc", "/run", "/root", "/home", "/tmp", "/var/tmp", "/var/log", "/var/lib/tandem", "/var/lib/systemd"]
OF_CONTAINERS = "/var/lib/containers/storage/overlay-containers"
HOME = "root: /var/lib/tandem/webui/"
"""Open WebUI's own database and uploads, which its user and root may read: chats are kept there, that is its work, and
so is the key by which it asks the engines.
"""
KEPT = (f"root: {secrets.ROOT}/", "root: /run/containers/", "root: /run/crun/", f"root: {OF_CONTAINERS}/")
"""Where root finds secrets: their own folder, and the environment that Podman keeps for a container."""
LEAST = {
    "command lines": 20,
    "journal lines": 1000,
    "files readable by nobody": 100,
    "answers of systemd": 3,
    "files read as root": 500,
    "texts": 1,
}
"""How much must have been read for "not found" to mean anything."""


@dataclass(frozen=True)
class Sent:
    """What was sent: the phrase, credentials with a wrong letter by name, and two words that must be found."""

    phrase: str
    typos: dict[str, str]
    in_journal: str
    in_command_line: str


@dataclass(frozen=True)
class Searched:
    """Where which words were seen, and how much of what was read."""

    found: dict[str, list[str]]
    looked: dict[str, int]

    def places(self, *names: str) -> list[str]:
        return sorted(place for place, seen in self.found.items() if set(names) & set(seen))


def word(kind: str) -> str:
    return f"planted{kind}{uuid.uuid4().hex}"


def typo(secret: str) -> str:
    return secret[:-1] + ("0" if secret[-1] != "0" else "1")


@pytest.fixture(scope="module")
def sent(site: Site, machine: Host) -> Iterator[Sent]:
    """Everything was sent and got the answer that shows that it came where it should."""
    typos = {
        "key": typo(site.access["api_key"]),
        "password": typo(site.access["basic_password"]),
        "webui_password": typo(site.access["webui_password"]),
        "cookie": typo(site.cookie["Cookie"].split("=")[1]),
    }
    sent = Sent(word("phrase"), typos, word("journal"), word("command"))
    assert ask_the_api(site, sent.phrase) == [200, 200, 200, 200, 400, 400, 400, 200, 404]
    page = ask_the_page(site, sent.phrase)
    assert page | {"title": 200, "search": 200, "link": 200, "link without cookie": 401, "plain link": 308} == page
    refused = try_credentials(site, typos)
    assert set(refused.values()) <= {308, 400, 401, 404}, refused
    on_host(machine, f"logger {sent.in_journal} && journalctl --sync")
    yield sent
    forget(site, sent.phrase)


@contextmanager
def a_process_called(machine: Host, name: str) -> Iterator[None]:
    """On the host, until it is not needed any more."""
    command = [*machine.ssh("root"), f"echo started; bash -c 'exec -a {name} cat'"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        assert one.stdin
        assert one.stdout
        assert one.stdout.readline() == b"started\n"
        yield
        one.stdin.close()


@pytest.fixture(scope="module")
def searched(sent: Sent, machine: Host) -> Searched:
    """The host, and the records of runs on this machine."""
    files = on_host(machine, f"cd {secrets.ROOT} && find . -type f -printf '%P\\n'").split()
    names = [name for name in files if "/" not in name or name.startswith(("passwords/", "keys/"))]
    derived = [
        name for name in files if name not in names and not name.endswith((".crt", "groups.conf", "revision.conf"))
    ]
    pids = on_host(machine, "podman ps --quiet | xargs podman inspect --format '{{.State.Pid}}'").split()
    question = {
        "root": secrets.ROOT,
        "names": names,
        "derived": derived,
        "units": [unit for unit in on_host(machine, "systemctl list-units --plain --no-legend").split() if "." in unit],
        "folders": [*FOLDERS, OF_CONTAINERS, *(f"/proc/{pid}/root/tmp" for pid in pids)],
        "more": True,
    }
    records = [*(ROOT / "runs").glob("*"), *ROOT.glob("pyinfra-debug.log")]
    typos = {f"typo of the {name}": value for name, value in sent.typos.items()}
    words = {"phrase": sent.phrase, "in the journal": sent.in_journal, "in a command line": sent.in_command_line}
    more = {"words": {**typos, **words}, "texts": {path.name: path.read_text() for path in records}}
    with a_process_called(machine, sent.in_command_line):
        done = subprocess.run(
            [*machine.ssh("root"), "python3", "-I", "-c", quoted(LOOK), quoted(json.dumps(question))],
            input=json.dumps(more),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    return Searched(**json.loads(done.stdout))


def quoted(text: str) -> str:
    """As one word of the shell at the other end."""
    return "'" + text.replace("'", "'\\''") + "'"


def test_the_search_is_wide_and_finds_what_is_there(searched: Searched) -> None:
    """A word that was written to the journal, one in a command line, the phrase in the WebUI's database, and secrets in
    their own folder.
    """
    assert {kind for kind, least in LEAST.items() if searched.looked.get(kind, 0) < least} == set(), searched.looked
    assert any(place.startswith("journal of") for place in searched.places("in the journal"))
    assert any(place.startswith("/proc/") for place in searched.places("in a command line"))
    assert any(place.startswith(f"{HOME}") and "webui.db" in place for place in searched.places("phrase"))
    assert any(place.startswith(f"root: {secrets.ROOT}/keys/") for place in searched.places("keys/default"))


def test_the_phrase_is_nowhere_but_in_the_webuis_own_data(searched: Searched) -> None:
    assert [place for place in searched.places("phrase") if not place.startswith(HOME)] == []


def test_what_only_resembles_a_secret_is_nowhere(searched: Searched, sent: Sent) -> None:
    assert searched.places(*(f"typo of the {name}" for name in sent.typos)) == []


def test_secrets_are_nowhere_but_where_root_keeps_them(searched: Searched) -> None:
    planted = {"phrase", "in the journal", "in a command line"}
    names = {name for seen in searched.found.values() for name in seen} - planted
    outside = {
        place: names & set(searched.found[place]) for place in searched.places(*names) if not place.startswith(KEPT)
    }
    of_the_webui = {
        place: seen for place, seen in outside.items() if place.startswith(HOME) and seen == {"upstream_key"}
    }
    assert outside.keys() - of_the_webui.keys() == set()


def test_no_core_was_dumped(machine: Host) -> None:
    """It could hold anything."""
    assert on_host(machine, "find /var/lib/systemd/coredump /var/crash -type f 2>/dev/null; :").split() == []


def test_the_places_that_may_hold_chats_and_secrets_are_closed_to_others(machine: Host) -> None:
    """To a user without rights, who does read what is open to all."""
    places = " ".join(place.removeprefix("root: ") for place in (HOME, *KEPT))
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    found = on_host(machine, f"{nobody} find /etc/hostname {places} -type f -readable 2>/dev/null; :").split()
    assert found == ["/etc/hostname"]
