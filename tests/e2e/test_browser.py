"""A real browser in front of the real page: the prompt, sign-in, a streamed chat, its history and its export.

TANDEM_PICTURE=FILE also writes a picture of the answered chat.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium

from tandem.rehearsal.access import QUESTIONS
from tests.e2e.chromium import Tab, chromium
from tests.e2e.site import Site
from tests.e2e.webui import Browser

ANSWERS = {row["question"]: row["answer"] for row in json.loads(QUESTIONS.read_text())}
LONG, SHORT, OTHER = "Count to sixty in words.", "Is this a rehearsal?", "Who wrote Hamlet?"
SECOND = {"name": "Second", "email": "second@rehearsal.example", "password": "a-second-person-1", "role": "user"}


@dataclass(frozen=True)
class Person:
    """Who passes the browser's prompt and then signs in."""

    user: str
    email: str
    password: str = field(repr=False)
    webui_password: str = field(repr=False)

    def opens(self, chrome: Chromium, url: str) -> Tab:
        tab = Tab(chrome, self.user, self.password)
        tab.sign_in(url, self.email, self.webui_password)
        return tab


@pytest.fixture(scope="module")
def chrome(site: Site) -> Iterator[Chromium]:
    with chromium(site.access["ca_file"]) as browser:
        yield browser


@pytest.fixture(scope="module")
def people(site: Site) -> Iterator[tuple[Person, Person]]:
    """The administrator, and a person whom the administrator has added. Both let the model answer without chance."""
    access, api = site.access, Browser(site)
    assert api.sign_in().status == 200
    remove_second(api)
    added = api.ask("POST", "/api/v1/auths/add", SECOND)
    assert added.status == 200, added.body[:300]
    second = Browser(site)
    second.headers["Authorization"] = f"Bearer {added.json['token']}"
    for one in (api, second):
        one.answer_without_chance()
    passwords = access.get("passwords") or {access["basic_user"]: access["basic_password"]}
    users = sorted(passwords, key=lambda user: user != access["basic_user"])
    yield (
        Person(users[0], access["webui_email"], passwords[users[0]], access["webui_password"]),
        Person(users[-1], SECOND["email"], passwords[users[-1]], SECOND["password"]),
    )
    remove_second(api)
    assert api.ask("DELETE", "/api/v1/chats/").status == 200


def remove_second(api: Browser) -> None:
    for user in api.ask("GET", f"/api/v1/users/?query={SECOND['email']}").json["users"]:
        if user["email"] == SECOND["email"]:
            assert api.ask("DELETE", f"/api/v1/users/{user['id']}").status == 200


@pytest.fixture(scope="module")
def admin(chrome: Chromium, people: tuple[Person, Person], site: Site) -> Tab:
    return people[0].opens(chrome, site.access["url"])


@pytest.fixture(scope="module")
def second(chrome: Chromium, people: tuple[Person, Person], site: Site) -> Tab:
    return people[1].opens(chrome, site.access["url"])


@pytest.mark.parametrize("password", [None, "not-the-password"])
def test_without_the_right_password_the_browser_sees_401_and_no_page(
    chrome: Chromium, site: Site, password: str | None
) -> None:
    tab = Tab(chrome, site.access["basic_user"] if password else None, password or "")
    assert tab.knock(site.access["url"]) == 401
    assert tab.context.cookies() == []
    assert tab.page.locator("input[name=email]").count() == 0


def test_the_page_comes_without_one_failed_request(admin: Tab) -> None:
    assert admin.complaints == []
    assert admin.asked > 50


def test_the_model_is_chosen_by_name_already(admin: Tab, site: Site) -> None:
    assert admin.page.get_by_label(f"Selected model: {site.access['model']}").count() == 1


def test_a_message_is_streamed_and_shown(admin: Tab) -> None:
    lengths = admin.ask(LONG, ANSWERS[LONG])
    assert len(lengths) > 2, lengths
    admin.settle()
    assert admin.complaints == []


def test_after_a_reload_the_history_is_there(admin: Tab) -> None:
    admin.page.reload()
    admin.shows(ANSWERS[LONG])
    admin.settle()
    assert admin.complaints == []


def test_the_chat_is_exported_with_its_answer(admin: Tab) -> None:
    (exported,) = json.loads(admin.export())
    answers = [one["content"] for one in exported["chat"]["history"]["messages"].values() if one["role"] == "assistant"]
    assert answers == [ANSWERS[LONG]]


def test_a_prompt_of_the_library_is_offered_and_asks_for_what_it_needs(second: Tab) -> None:
    second.type("/transl")
    second.page.get_by_text("Translate a text").wait_for()
    second.page.keyboard.press("Enter")
    second.page.get_by_placeholder("e.g. English").fill("Swahili")
    second.page.get_by_placeholder("The text").fill("Good morning")
    second.page.get_by_role("button", name="Save").click()
    second.page.locator("#chat-input", has_text="Translate the text below into Swahili.").wait_for()
    second.page.locator("#chat-input", has_text="Good morning").wait_for()
    second.settle()
    assert second.complaints == []


def test_a_second_person_chats_and_sees_no_chats_of_others(second: Tab, admin: Tab, site: Site) -> None:
    second.page.goto(site.access["url"])
    assert len(second.ask(OTHER, ANSWERS[OTHER])) > 1
    second.settle()
    assert second.page.get_by_label(f"Selected model: {site.access['model']}").count() == 1
    theirs = second.page.evaluate(CHATS)
    assert (len(theirs), second.page.url.rsplit("/", 1)[-1]) == (1, theirs[0])
    others = admin.page.evaluate(CHATS)
    assert others
    assert not set(others) & set(theirs)
    assert [second.page.evaluate(STATUS, f"/api/v1/chats/{chat}") for chat in others] == [401] * len(others)
    expected = [f"401 GET {site.access['url']}/api/v1/chats/{chat}" for chat in others]
    assert [one for one in second.complaints if not one.startswith("console: Failed to load")] == expected


CHATS = """async () => {
    const answer = await fetch('/api/v1/chats/', {headers: {Authorization: `Bearer ${localStorage.token}`}});
    return (await answer.json()).map(chat => chat.id);
}"""
STATUS = """async path =>
    (await fetch(path, {headers: {Authorization: `Bearer ${localStorage.token}`}})).status"""


def test_a_session_without_the_doors_cookie_opens_nothing(admin: Tab, site: Site) -> None:
    """The browser's own cookies and token, with and without that one cookie."""
    cookies = {one["name"]: one["value"] for one in admin.context.cookies()}
    token = admin.page.evaluate("localStorage.token")

    def status(path: str, without: str = "") -> int:
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items() if name != without)
        return site.ask("GET", path, {"Cookie": sent, "Authorization": f"Bearer {token}"}).status

    for path in ("/api/models", "/api/v1/chats/", "/static/favicon.png"):
        assert (status(path), status(path, without="tandem_gate")) == (200, 401)


def test_the_answered_chat_is_pictured(admin: Tab, site: Site) -> None:
    admin.page.goto(site.access["url"])
    admin.ask(SHORT, ANSWERS[SHORT])
    admin.page.locator(".chat-assistant").locator("xpath=ancestor::*[.//img][1]").locator("img").first.wait_for()
    admin.settle()
    loaded = admin.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert loaded
    assert admin.page.evaluate("document.fonts.ready.then(fonts => fonts.check('16px Inter'))")
    if picture := os.environ.get("TANDEM_PICTURE"):
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        admin.page.mouse.move(640, 500)
        admin.page.screenshot(path=picture)
