"""People and chats in the Open WebUI of this host. QUESTION: {"add": [[name, password]], "chats": {name: count}} makes
them; {"sign_in": [[name, password]]} answers {name: chats} as each finds them; {"upstream": true} the keys that Open
WebUI keeps for the engines. "admin" is the administrator.
"""

import json
import sqlite3
import urllib.request
from typing import Any

PAGE = "http://127.0.0.1:18300/api/v1"
ADMIN = "admin@rehearsal.example"


def ask(path: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{PAGE}/{path}", data, headers), timeout=30) as answer:
        return json.load(answer)


def sign_in(email: str, password: str) -> str:
    return str(ask("auths/signin", {"email": email, "password": password})["token"])


def main(question: dict[str, Any]) -> Any:
    if question.get("upstream"):
        with sqlite3.connect("file:/var/lib/tandem/webui/blue/webui.db?mode=ro", uri=True) as there:
            return {
                "keys": json.loads(there.execute("SELECT value FROM config WHERE key='openai.api_keys'").fetchone()[0])
            }
    with open("/etc/tandem/secrets/webui_admin_password") as file:
        tokens = {"admin": sign_in(ADMIN, file.read().strip())}
    for name, password in question.get("add", []):
        person = {"name": name, "email": f"{name}@rehearsal.example", "password": password, "role": "user"}
        ask("auths/add", person, tokens["admin"])
    for name, password in [*question.get("add", []), *question.get("sign_in", [])]:
        tokens[name] = sign_in(f"{name}@rehearsal.example", password)
    for name, count in question.get("chats", {}).items():
        for number in range(count):
            chat = {
                "title": f"a chat of {name}, {number}",
                "messages": [],
                "history": {"messages": {}, "currentId": None},
            }
            ask("chats/new", {"chat": chat}, tokens[name])
    return {name: len(ask("chats/?page=1", None, token)) for name, token in tokens.items()}


print(json.dumps(main(json.loads(QUESTION))))  # type: ignore[name-defined]  # noqa: F821
