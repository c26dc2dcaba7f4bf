"""Another image of the real Open WebUI takes over on a rehearsal host: people and chats are there, whatever dies."""

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.e2e.site import Site
from tests.e2e.webui import Browser
from tests.faults.conftest import made_anew
from tests.faults.deploying import Ended, Running, Workplace
from tests.faults.onhost import OnHost

NAME = "web1"
UPGRADE = "tests/faults/deploys/webui.py"
ONE_CARD = {"engine": {"cards": [0], "ready_timeout_seconds": 600, "shutdown_timeout_seconds": 30}}
PEOPLE = {"ada@rehearsal.example": "first-password-of-ada", "bob@rehearsal.example": "first-password-of-bob"}
WAIT_SECONDS = 240
PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\x00"
"""Frames of the websocket protocol without content; those of a client are masked, here with zeros."""
CHAT = {"title": "kept", "models": ["gpt-oss-20b"], "messages": [], "history": {"messages": {}, "currentId": None}}


@dataclass
class House:
    """The host, how to deploy to it, and what was made there before the first upgrade."""

    workplace: Workplace
    there: OnHost
    image: str
    next: str
    broken: str
    chats: dict[str, list[str]] = field(default_factory=dict)

    def deploy(self, deploy: str, image: str) -> Ended:
        return self.start(deploy, image).wait()

    def start(self, deploy: str, image: str) -> Running:
        changes = {**ONE_CARD, "webui": {**dict(hosts(STATE))[NAME]["webui"], "image": image}}
        return self.workplace.start(self.workplace.inventory(NAME, changes), deploy)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.there.shell("cat /var/lib/tandem/state.json"))["webui"]
        return found

    def invocation(self, slot: str) -> str:
        return self.there.shell(f"systemctl show --value --property=InvocationID open-webui-{slot}").strip()


def site() -> Site:
    one = host.load(STATE, NAME)
    logins = json.loads(OnHost(NAME).shell("tandemctl credentials --json"))
    authority = STATE / f"{NAME}-ca.crt"
    authority.write_text(OnHost(NAME).shell(f"cat {logins['ca_file']}"))
    return Site(
        {
            "url": f"https://{one.address}",
            "ca_file": str(authority),
            "basic_user": "team",
            "basic_password": logins["passwords"]["team"],
            "passwords": logins["passwords"],
            "api_key": logins["keys"]["default"],
            "model": "gpt-oss-20b",
            "webui_email": "admin@rehearsal.example",
            "webui_password": logins["webui_admin_password"],
        }
    )


def signed_in(email: str = "", password: str = "") -> Browser:
    """Somebody at the page, by default its administrator."""
    browser = Browser(site())
    if email:
        browser.site.access = {**browser.site.access, "webui_email": email, "webui_password": password}
    assert browser.sign_in().status == 200, email
    return browser


def new_chat(browser: Browser) -> str:
    reply = browser.ask("POST", "/api/v1/chats/new", {"chat": CHAT})
    assert reply.status == 200, reply.body[:300]
    return str(reply.json["id"])


def chats(browser: Browser) -> list[str]:
    return sorted(row["id"] for row in browser.ask("GET", "/api/v1/chats/?page=1").json)


def all_there(house: House) -> None:
    for email, password in PEOPLE.items():
        assert set(house.chats[email]) <= set(chats(signed_in(email, password)))


def derived(there: OnHost, name: str, lines: str) -> str:
    """Another image, made from the one that serves: NAME@DIGEST, in the host's own store."""
    there.shell(
        f"mkdir -p /root/{name}; image=$(sed -n 's/^Image=//p' /etc/containers/systemd/open-webui-blue.container); "
        f"printf 'FROM %s\\n{lines}\\n' $image >/root/{name}/Containerfile; "
        f"podman build --quiet --pull=never --network=none -t localhost/tandem-rehearsal/{name}:1 /root/{name}"
    )
    image = f"localhost/tandem-rehearsal/{name}"
    digest = there.shell("podman image inspect --format '{{.Digest}}' " + f"{image}:1").strip()
    return f"{image}@{digest}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    workplace = Workplace(tmp_path_factory.mktemp("webui") / "work")
    made_anew(NAME)
    try:
        ended = workplace.install(NAME, ONE_CARD)
        assert ended.status == 0, ended.output
        there = OnHost(NAME)
        newer, broken = derived(there, "newer", "LABEL newer=1"), derived(there, "broken", 'CMD ["false"]')
        house = House(workplace, there, dict(hosts(STATE))[NAME]["webui"]["image"], newer, broken)
        administrator = signed_in()
        for email, password in PEOPLE.items():
            form = {"name": email[:3], "email": email, "password": password, "role": "user"}
            assert administrator.ask("POST", "/api/v1/auths/add", form).status == 200
            house.chats[email] = [new_chat(signed_in(email, password)) for _ in range(2)]
        yield house
    finally:
        host.remove(STATE, NAME)
        (STATE / f"{NAME}-ca.crt").unlink(missing_ok=True)


def waited(house: House, condition: Callable[[House], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition(house):
        assert time.monotonic() < deadline, house.state()
        time.sleep(0.2)


def killed_when(house: House, condition: Callable[[House], bool]) -> None:
    """An upgrade of which both ends die, kill -9, as soon as ``condition`` holds."""
    assert not closed(house)
    running = house.start(UPGRADE, house.next)
    waited(house, condition)
    holder = json.loads(house.there.shell("cat /run/lock/tandem-webui.lock"))
    house.there.shell(f"kill -9 {holder['pid']}")
    running.kill()


def closed(house: House) -> bool:
    return bool(house.state()["port"] == 1)


def test_a_version_that_does_not_start_changes_nothing(house: House) -> None:
    before = house.invocation("blue")
    ended = house.deploy(UPGRADE, house.broken)
    assert ended.status != 0
    assert "did not pass on a copy of the data" in ended.output
    assert house.state() == {"slot": "blue", "port": 18300}
    assert house.invocation("blue") == before
    all_there(house)


def test_an_install_leaves_the_version_that_serves_alone(house: House) -> None:
    before = house.invocation("blue")
    ended = house.deploy("deploys/install.py", house.next)
    assert ended.status == 0, ended.output
    assert f"{house.next} is wanted: upgrade is due" in ended.output
    assert house.invocation("blue") == before


def test_killed_during_the_trial_nobody_notices(house: House) -> None:
    before = house.invocation("blue")
    killed_when(
        house, lambda house: house.there.shell("systemctl is-active open-webui-green || true").strip() == "active"
    )
    assert house.state() == {"slot": "blue", "port": 18300}
    assert house.invocation("blue") == before
    house.there.shell("tandemctl webui mend")
    assert house.there.shell("systemctl is-active open-webui-green || true").strip() == "inactive"


def test_killed_while_the_page_is_closed_what_served_is_brought_back(house: House) -> None:
    visitor = site()
    cookie = visitor.cookie
    killed_when(house, closed)
    reply = visitor.ask("GET", "/", cookie)
    assert (reply.status, reply.headers.get("Retry-After")) == (503, "5")
    assert "Back in a moment" in reply.body.decode()
    # The guard may have begun already.
    house.there.shell("tandemctl webui mend", check=False)
    waited(house, lambda house: not closed(house))
    assert house.state() == {"slot": "blue", "port": 18300}
    all_there(house)


def test_killed_while_the_page_is_closed_the_same_upgrade_ends_it_and_a_second_one_changes_nothing(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_when(house, closed)
    ended = house.deploy(UPGRADE, house.next)
    assert ended.status == 0, ended.output
    assert house.state() == {"slot": "green", "port": 18400}
    all_there(house)
    with capsys.disabled():
        print("\n" + "\n".join(line for line in ended.output.splitlines() if "the page" in line))
    for deploy in (UPGRADE, "deploys/install.py"):
        again = house.deploy(deploy, house.next)
        assert (again.status, again.changed) == (0, []), again.output


def test_going_back_needs_consent_for_the_chats_it_leaves_behind_and_keeps_them(house: House) -> None:
    email, password = next(iter(PEOPLE.items()))
    late = new_chat(signed_in(email, password))
    refusal = house.there.shell("tandemctl webui back 2>&1 || echo status $?")
    assert "would leave 1 chats behind" in refusal
    assert "status 3" in refusal
    assert house.state()["slot"] == "green"
    said = house.there.shell("tandemctl webui back --consent-chats 1")
    assert house.state() == {"slot": "blue", "port": 18300}
    assert late not in chats(signed_in(email, password))
    all_there(house)
    kept = next(line for line in said.splitlines() if "is kept in" in line).split()[-1]
    assert house.there.shell(f"grep -c {late} {kept}/webui.db").strip() != "0"


def test_a_whole_upgrade_says_the_gap_before_and_after_and_engine_shifts_cut_no_websocket(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = house.deploy(UPGRADE, house.next)
    assert ended.status == 0, ended.output
    said = [line for line in ended.output.splitlines() if "the page will be away" in line or "page was away" in line]
    assert len(said) == 2, ended.output
    with capsys.disabled():
        print("\n" + "\n".join(said))
    all_there(house)
    with websocket(site()) as connection:
        for _ in range(3):
            house.there.shell("systemctl reload tandem-router-engine")
        connection.sendall(PING)
        connection.settimeout(40)
        received = b""
        while PONG not in received:
            piece = connection.recv(4096)
            assert piece, "the websocket was cut"
            received += piece


def websocket(site: Site) -> socket.socket:
    """Opened through the edge; its first message is read."""
    request = [
        "GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {site.address}",
        f"Origin: https://{site.address}",
        f"Cookie: {site.cookie['Cookie']}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    plain = socket.create_connection((site.address, 443), timeout=10)
    connection = site.trust.wrap_socket(plain, server_hostname=site.address)
    connection.sendall("\r\n".join([*request, "", ""]).encode())
    assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
    connection.recv(4096)
    return connection
