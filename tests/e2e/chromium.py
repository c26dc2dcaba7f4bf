"""Debian's Chromium, headless, driven by Playwright. It trusts the host's own authority, as a person's browser would
be told to; no certificate error is ignored.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Download, Error, Request, Response, expect, sync_playwright

EXECUTABLE = "/usr/bin/chromium"
PATIENCE_SECONDS = 90
"""Two processors serve the model, the page and the browser."""
QUIET_SECONDS = 0.5
GROWTH = """() => {
    window.growth = [];
    new MutationObserver(() => {
        const length = [...document.querySelectorAll('.chat-assistant')].at(-1)?.innerText.length ?? 0;
        if (length !== window.growth.at(-1)) window.growth.push(length);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@contextmanager
def chromium(ca_file: str) -> Iterator[Browser]:
    """A browser with a home of its own, to which nothing but the authority in ``ca_file`` was added."""
    with tempfile.TemporaryDirectory(prefix="tandem-browser-") as home:
        database = Path(home) / ".pki" / "nssdb"
        database.mkdir(parents=True)
        certutil = ["certutil", "-d", f"sql:{database}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True)
        subprocess.run([*certutil, "-A", "-n", "host", "-t", "C,,", "-i", ca_file], check=True)
        with sync_playwright() as playwright:
            environment: dict[str, str | float | bool] = {"HOME": home, "PATH": "/usr/bin:/bin"}
            browser = playwright.chromium.launch(executable_path=EXECUTABLE, env=environment)
            try:
                yield browser
            finally:
                browser.close()


class Tab:
    """One page of Open WebUI, as a person uses it.

    ``complaints``: everything that went wrong since it was opened: answers of 400 and more, requests without an
    answer, errors that its scripts wrote or raised. ``asked``: how many requests it made.
    """

    def __init__(self, browser: Browser, user: str | None = None, password: str = "") -> None:
        credentials = {"username": user, "password": password} if user else None
        self.context = browser.new_context(
            viewport={"width": 1280, "height": 800},
            http_credentials=credentials,  # type: ignore[arg-type]
            accept_downloads=True,
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.complaints: list[str] = []
        self.asked, self.open, self.answered, self.last = 0, set[Request](), set[Request](), 0.0
        self.page.on("request", self._began)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def knock(self, url: str) -> int:
        """The status with which the door answers."""
        try:
            answer = self.page.goto(url)
        except Error as error:
            # What the browser says where nobody types a password.
            if "ERR_INVALID_AUTH_CREDENTIALS" not in str(error):
                raise
            return 401
        assert answer
        return answer.status

    def sign_in(self, url: str, email: str, password: str) -> None:
        """From the door to the empty chat, with the news of the release put away."""
        self.page.goto(url)
        self.page.locator("input[name=email]").fill(email)
        self.page.locator("input[type=password]").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator("#chat-input").wait_for()
        self.settle()
        news = self.page.get_by_role("button", name="Okay, Let's Go!")
        if news.count():
            news.click()
            news.wait_for(state="detached")

    def settle(self) -> None:
        """Waits until every request is answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.open or time.monotonic() < self.last + QUIET_SECONDS:
            assert time.monotonic() < deadline, [request.url for request in self.open]
            self.page.wait_for_timeout(50)

    def type(self, text: str) -> None:
        self.page.locator("#chat-input").click()
        self.page.keyboard.type(text)

    def ask(self, question: str, answer: str) -> list[int]:
        """Asks in the chat and waits for the whole answer; returns the lengths that the text was seen to have."""
        self.page.evaluate(GROWTH)
        self.type(question)
        self.page.locator("#send-message-button").click()
        self.shows(answer)
        lengths: list[int] = self.page.evaluate("window.growth")
        return [length for length in lengths if length]

    def shows(self, answer: str) -> None:
        expect(self.page.locator(".chat-assistant").last).to_have_text(answer, timeout=PATIENCE_SECONDS * 1000)

    def export(self) -> str:
        """The downloaded text of the chat."""
        self.page.locator("#chat-context-menu-button").click()
        self.page.get_by_text("Download", exact=True).last.hover()
        with self.page.expect_download() as started:
            self.page.get_by_text("Export chat (.json)").click()
        download: Download = started.value
        return download.path().read_text()

    def titles(self) -> str:
        """What the list of chats shows."""
        return self.page.locator("#sidebar").inner_text()

    def _began(self, request: Request) -> None:
        self.asked += 1
        self.last = time.monotonic()
        self.open.add(request)

    def _answered(self, response: Response) -> None:
        self.last = time.monotonic()
        self.open.discard(response.request)
        self.answered.add(response.request)
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.request.method} {response.url}")

    def _failed(self, request: Request) -> None:
        self.last = time.monotonic()
        self.open.discard(request)
        # A page that goes away leaves bodies of answers unread.
        if request not in self.answered:
            self.complaints.append(f"failed ({request.failure}) {request.method} {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")
