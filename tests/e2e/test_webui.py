"""Open WebUI through the gate: sign-in, no sign-up, and the first message is answered."""

import base64
import os
import socket
import time

import pytest

from tandem.rehearsal.rootfs import Host
from tests.e2e.conftest import NAME
from tests.e2e.site import Site, pieces
from tests.e2e.units import on_host
from tests.e2e.webui import Browser

READY_SECONDS = 180
QUESTION, ANSWER = "Which planet is closest to the Sun?", "Mercury is the planet closest to the Sun."


@pytest.fixture(scope="module")
def browser(site: Site) -> Browser:
    browser = Browser(site)
    reply = browser.sign_in()
    assert (reply.status, reply.json["role"]) == (200, "admin")
    return browser


def test_sign_up_is_closed(site: Site) -> None:
    refuses_strangers(site)


def refuses_strangers(site: Site) -> None:
    stranger = Browser(site)
    assert stranger.ask("GET", "/api/config").json["features"]["enable_signup"] is False
    form = {"name": "Eve", "email": "eve@rehearsal.example", "password": "not-a-secret-password"}
    assert stranger.ask("POST", "/api/v1/auths/signup", form).status == 403


def test_without_a_session_there_is_no_chat(site: Site) -> None:
    assert Browser(site).ask("GET", "/api/models").status in (401, 403)


def test_the_model_can_be_chosen(browser: Browser, site: Site) -> None:
    assert [row["id"] for row in browser.models()] == [site.access["model"]]


def test_the_first_message_of_a_new_chat_is_answered(browser: Browser) -> None:
    """As the front end sends it, tools and all; the answer is then in the chat, where the page reads it again."""
    reply = browser.first_message(QUESTION)
    assert reply.status == 200, reply.body[:500]
    chat = reply.json["chat_id"]
    try:
        found = browser.answer(chat)
        assert not found.get("error"), found["error"]
        assert (found["done"], found["content"].strip()) == (True, ANSWER)
    finally:
        assert browser.ask("DELETE", f"/api/v1/chats/{chat}").status == 200


def test_a_message_without_tools_is_streamed_and_answered_exactly(browser: Browser, site: Site) -> None:
    body = {
        "model": site.access["model"],
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "params": {"temperature": 0},
    }
    with site.open("POST", "/api/chat/completions", browser.headers, body) as response:
        assert response.status == 200
        words = list(pieces(response))
    assert "".join(words) == ANSWER
    assert len(words) > 1


@pytest.mark.parametrize("name", ["address", "alternative name"])
def test_a_websocket_opens_through_the_gate(browser: Browser, site: Site, name: str) -> None:
    request = [
        "GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {site.address}",
        f"Origin: https://{site.address if name == 'address' else NAME}",
        f"Cookie: {browser.headers['Cookie']}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    with (
        socket.create_connection((site.address, 443), timeout=10) as plain,
        site.trust.wrap_socket(plain, server_hostname=site.address) as tls,
    ):
        tls.sendall("\r\n".join([*request, "", ""]).encode())
        assert tls.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_a_restart_closes_a_sign_up_that_was_opened_and_the_administrator_is_still_there(
    site: Site, machine: Host, browser: Browser
) -> None:
    seen = browser.ask("GET", "/api/v1/auths/admin/config").json
    opened = {**seen, "ENABLE_SIGNUP": True, "WEBUI_URL": "https://by-hand.example"}
    assert browser.ask("POST", "/api/v1/auths/admin/config", opened).status == 200
    on_host(machine, "systemctl restart open-webui-blue.service")
    deadline = time.monotonic() + READY_SECONDS
    while site.ask("GET", "/ready", site.basic()).status != 200:
        assert time.monotonic() < deadline, f"the WebUI is not ready after {READY_SECONDS} s"
        time.sleep(1)
    refuses_strangers(site)
    assert Browser(site).sign_in().json["role"] == "admin"
    assert browser.ask("GET", "/api/v1/auths/admin/config").json["WEBUI_URL"] == seen["WEBUI_URL"]
