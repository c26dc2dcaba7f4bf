"""Open WebUI as its own front end uses it: through the gate, with the session of a signed-in user."""

import time
import uuid
from typing import Any

from tests.e2e.site import Reply, Site

ANSWER_SECONDS = 90


class Browser:
    """Holds the gate cookie and, after ``sign_in``, the session."""

    def __init__(self, site: Site) -> None:
        self.site = site
        (name, value), *_ = site.ask("GET", "/", site.basic()).cookies.items()
        self.headers = {"Cookie": f"{name}={value}"}

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        return self.site.ask(method, path, self.headers, body)

    def sign_in(self) -> Reply:
        login = {"email": self.site.access["webui_email"], "password": self.site.access["webui_password"]}
        reply = self.ask("POST", "/api/v1/auths/signin", login)
        if reply.status == 200:
            self.headers["Authorization"] = f"Bearer {reply.json['token']}"
        return reply

    def first_message(self, question: str) -> Reply:
        """What the front end posts for the first message of a new chat: the server makes the chat and offers tools."""
        asked, answer = str(uuid.uuid4()), str(uuid.uuid4())
        model = self.site.access["model"]
        message = {
            "id": asked,
            "parentId": None,
            "childrenIds": [answer],
            "role": "user",
            "content": question,
            "timestamp": int(time.time()),
            "models": [model],
        }
        return self.ask(
            "POST",
            "/api/chat/completions",
            {
                "stream": True,
                "model": model,
                "messages": [{"role": "user", "content": question}],
                "params": {"temperature": 0},
                "tool_servers": [],
                "features": {"image_generation": False, "code_interpreter": False, "web_search": False},
                "variables": {},
                "model_item": next(row for row in self.models() if row["id"] == model),
                "session_id": "a-browser-that-went-away",
                "id": answer,
                "parent_id": None,
                "user_message": message,
                "background_tasks": {},
            },
        )

    def answer_without_chance(self) -> None:
        """The person's own setting: from now on the front end asks for temperature 0."""
        settings = self.ask("GET", "/api/v1/users/user/settings").json or {}
        ui = settings.get("ui") or {}
        changed = {**settings, "ui": {**ui, "params": {**ui.get("params", {}), "temperature": 0}}}
        assert self.ask("POST", "/api/v1/users/user/settings/update", changed).status == 200

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/api/models").json["data"]
        return found

    def answer(self, chat: str) -> dict[str, Any]:
        """The first message of the assistant in a chat once it is complete, or as it is after the time allowed."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            messages = self.ask("GET", f"/api/v1/chats/{chat}").json["chat"]["history"]["messages"].values()
            found: dict[str, Any] = next(one for one in messages if one["role"] == "assistant")
            if found.get("done") or found.get("error") or time.monotonic() > deadline:
                return found
            time.sleep(0.3)
