"""A phrase sent every way that a prompt can go, and credentials every way that they can be given."""

import http.client
import time
import uuid
from typing import Any

from tests.e2e.site import Site
from tests.e2e.webui import Browser


def ask_the_api(site: Site, phrase: str) -> list[int]:
    """Answered, streamed, refused for what it says, and on routes that are not there; the statuses in this order."""
    model, message = site.access["model"], {"role": "user", "content": phrase}
    paths_and_bodies: list[tuple[str, str, Any]] = [
        ("POST", "/v1/chat/completions", {"model": model, "messages": [message], "max_tokens": 8}),
        ("POST", "/v1/chat/completions", {"model": model, "messages": [message], "max_tokens": 8, "stream": True}),
        ("POST", "/v1/completions", {"model": model, "prompt": phrase, "max_tokens": 8}),
        ("POST", "/v1/responses", {"model": model, "input": phrase, "max_output_tokens": 8}),
        ("POST", "/v1/chat/completions", {"model": model, "messages": [{**message, "content": f"{phrase} " * 4000}]}),
        ("POST", "/v1/chat/completions", {"model": model, "messages": phrase, "temperature": phrase}),
        ("POST", "/v1/chat/completions", phrase),
        ("GET", f"/v1/models?prompt={phrase}", None),
        ("POST", f"/v1/files/{phrase}", {"prompt": phrase}),
    ]
    headers = {**site.bearer, "User-Agent": phrase, "X-OpenWebUI-Chat-Id": phrase, "Referer": f"https://a/?q={phrase}"}
    statuses = []
    for method, path, body in paths_and_bodies:
        statuses.append(site.ask(method, path, headers, body).status)
        time.sleep(0.21)
    return statuses


def ask_the_page(site: Site, phrase: str) -> dict[str, int]:
    """As a signed-in person: a chat, its title, a search, links, an upload, and messages that can't be answered."""
    browser, model = Browser(site), site.access["model"]
    assert browser.sign_in().status == 200
    messages = [{"role": "user", "content": phrase}]
    begun = browser.first_message(phrase)
    assert begun.status == 200
    chat = begun.json["chat_id"]
    browser.answer(chat)
    title = {"model": model, "messages": messages, "chat_id": chat}
    statuses = {
        "title": browser.ask("POST", "/api/v1/tasks/title/completions", title).status,
        "tags": browser.ask("POST", "/api/v1/tasks/tags/completions", title).status,
        "search": browser.ask("GET", f"/api/v1/chats/search?text={phrase}").status,
        "search files": browser.ask("GET", f"/api/v1/files/search?filename=*{phrase}*").status,
        "link": browser.ask("GET", f"/?q={phrase}").status,
        "link without cookie": site.ask("GET", f"/?q={phrase}", {}).status,
        "unknown page": browser.ask("GET", f"/c/{phrase}").status,
        "unknown file": browser.ask("GET", f"/static/{phrase}").status,
        "unknown model": browser.ask("POST", "/api/chat/completions", {"model": phrase, "messages": messages}).status,
        "broken": browser.ask("POST", "/api/chat/completions", {"model": model, "messages": phrase}).status,
        "too long": browser.ask(
            "POST",
            "/api/chat/completions",
            {"model": model, "messages": [{"role": "user", "content": f"{phrase} " * 4000}]},
        ).status,
        "upload": upload(site, browser, phrase),
        "sign-in": browser.ask(
            "POST", "/api/v1/auths/signin", {"email": f"{phrase}@a.example", "password": phrase}
        ).status,
    }
    connection = http.client.HTTPConnection(site.address, 80, timeout=10)
    connection.request("GET", f"/?q={phrase}")
    statuses["plain link"] = connection.getresponse().status
    connection.close()
    return statuses


def upload(site: Site, browser: Browser, phrase: str) -> int:
    """A text file with the phrase in its name and in its content, taken in as the page does it."""
    edge = uuid.uuid4().hex
    lines = [
        f"--{edge}",
        f'Content-Disposition: form-data; name="file"; filename="{phrase}.txt"',
        "Content-Type: text/plain",
        "",
        f"It says {phrase}.",
        f"--{edge}--",
        "",
    ]
    connection = http.client.HTTPSConnection(site.address, timeout=60, context=site.trust)
    headers = {**browser.headers, "Content-Type": f"multipart/form-data; boundary={edge}"}
    connection.request("POST", "/api/v1/files/", "\r\n".join(lines).encode(), headers)
    status = connection.getresponse().status
    connection.close()
    return status


def try_credentials(site: Site, typos: dict[str, str]) -> dict[str, int]:
    """Wrong ones wherever they can be given, and right ones where they do not belong."""
    bearer = {"Authorization": f"Bearer {typos['key']}"}
    login = {"email": site.access["webui_email"], "password": typos["webui_password"]}
    cookie = {"Cookie": f"tandem_gate={typos['cookie']}"}
    right = {"key": site.access["api_key"], "password": site.access["basic_password"]}
    called = {
        name: Site({**site.access, "basic_user": one["password"]}) for name, one in (("typo", typos), ("right", right))
    }
    statuses = {
        "key": site.ask("GET", "/v1/models", bearer).status,
        "key in a query": site.ask("GET", f"/v1/models?api_key={typos['key']}", {}).status,
        "key as a path": site.ask("GET", f"/{typos['key']}", {}).status,
        "password": site.ask("GET", "/", site.basic(typos["password"])).status,
        "password as a name": site.ask("GET", "/", called["typo"].basic()).status,
        "cookie": site.ask("GET", "/", cookie).status,
        "sign-in": site.ask("POST", "/api/v1/auths/signin", site.cookie, login).status,
        "right key in a query": site.ask("GET", f"/v1/models?api_key={right['key']}", {}).status,
        "right key as a path": site.ask("GET", f"/{right['key']}", {}).status,
        "right password in a query": site.ask("GET", f"/?password={right['password']}", {}).status,
        "right password as a name": site.ask("GET", "/", called["right"].basic()).status,
    }
    connection = http.client.HTTPConnection(site.address, 80, timeout=10)
    connection.request("GET", f"/v1/models?api_key={right['key']}", headers={**site.bearer, **cookie})
    statuses["right key in plain"] = connection.getresponse().status
    connection.close()
    return statuses


def forget(site: Site, phrase: str) -> None:
    """Delete the chats and files that the phrase was sent with. They count as the administrator's own otherwise."""
    browser = Browser(site)
    assert browser.sign_in().status == 200
    for chat in browser.ask("GET", f"/api/v1/chats/search?text={phrase}").json:
        assert browser.ask("DELETE", f"/api/v1/chats/{chat['id']}").status == 200
    found = browser.ask("GET", "/api/v1/files/?content=false").json
    for file in found["items"] if isinstance(found, dict) else found:
        if phrase in file["filename"]:
            browser.ask("DELETE", f"/api/v1/files/{file['id']}")
            assert browser.ask("GET", f"/api/v1/files/{file['id']}").status == 404
