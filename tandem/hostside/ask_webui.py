"""A program: asks an Open WebUI in the container where it runs whether people find what they left there.

Standard input, JSON: {"port", "email", "password", "chat": the id of a chat of that person or "", "seconds": how long
to wait for it}. Standard output, JSON: {"problem": "" or a sentence without a secret, "signed_in", "users", "chat":
whether that chat was answered, "seconds": until it was ready}. Standard library only.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 30.0


def ask(page: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """The status and what the JSON of the answer holds (None: no JSON). Raises OSError when nobody answers."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(page, data, headers), timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


def ready(page: str, seconds: float) -> float | None:
    """Seconds until it was ready; None if it never was."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if ask(f"{page}/ready")[0] == 200:
                return round(time.monotonic() - began, 1)
        except OSError:
            pass
        time.sleep(PAUSE_SECONDS)
    return None


def look(order: dict[str, Any]) -> dict[str, Any]:
    page = f"http://127.0.0.1:{order['port']}"
    found: dict[str, Any] = {"problem": "", "signed_in": False, "users": 0, "chat": False}
    found["seconds"] = ready(page, order["seconds"])
    if found["seconds"] is None:
        return {**found, "problem": f"Open WebUI was not ready after {order['seconds']:.0f} s"}
    status, session = ask(f"{page}/api/v1/auths/signin", {"email": order["email"], "password": order["password"]})
    token = session.get("token") if status == 200 and isinstance(session, dict) else None
    if not token:
        return {**found, "problem": f"the administrator can't sign in (Open WebUI answered {status})"}
    found["signed_in"] = True
    status, people = ask(f"{page}/api/v1/users/all", token=token)
    found["users"] = people.get("total", 0) if status == 200 and isinstance(people, dict) else 0
    if order["chat"]:
        status, chat = ask(f"{page}/api/v1/chats/{order['chat']}", token=token)
        found["chat"] = status == 200 and isinstance(chat, dict) and chat.get("id") == order["chat"]
    return found


if __name__ == "__main__":
    print(json.dumps(look(json.load(sys.stdin))))
