"""Whether an Open WebUI on loopback really works: it answers, lets its administrator in, lists the model, and opens a
websocket.
"""

import base64
import http.client
import json
import os
import socket
from dataclasses import dataclass
from typing import Final

from tandem.hostside.probe import request

ANSWER_SECONDS: Final = 30.0
REFUSALS: Final = (400, 401, 403)


@dataclass(frozen=True)
class Login:
    """Of the first administrator. ``password`` never appears in an output."""

    email: str
    password: str


@dataclass(frozen=True)
class Checked:
    """``problems``: a sentence for each, empty when it works. ``signs_in``: whether the login opens it."""

    problems: tuple[str, ...]
    signs_in: bool


def check(port: int, login: Login, model: str | None, must_sign_in: bool) -> Checked:
    """Ask it everything. ``model``: None where any list will do; ``must_sign_in``: False where the kept password may
    not be the one in this database.
    """
    page = f"http://127.0.0.1:{port}"
    problems = [why for path, what in (("/health", ""), ("/", "<html")) if (why := _page(page, path, what))]
    token, why = sign_in(port, login)
    if token and model is not None:
        problems += [why for why in (_lists(page, token, model),) if why]
    elif not token and must_sign_in:
        problems.append(why)
    problems += [why for why in (_websocket(port),) if why]
    return Checked(tuple(problems), bool(token))


def sign_in(port: int, login: Login) -> tuple[str, str]:
    """A session's token, or "" and why there is none."""
    body = json.dumps({"email": login.email, "password": login.password}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        status, answer = request("POST", f"http://127.0.0.1:{port}/api/v1/auths/signin", ANSWER_SECONDS, headers, body)
        token = str(json.loads(answer).get("token") or "") if status == 200 else ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        return "", f"a sign-in is not answered: {type(error).__name__}"
    if token:
        return token, ""
    word = "refuses" if status in REFUSALS or status == 200 else f"answers {status} to"
    return "", f"it {word} the sign-in of {login.email} with the password that this host keeps"


def _page(page: str, path: str, what: str) -> str:
    try:
        status, body = request("GET", f"{page}{path}", ANSWER_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        return f"{path} is not answered: {type(error).__name__}"
    if status != 200:
        return f"{path} answers {status}"
    return "" if what.encode() in body.lower() else f"{path} answers 200 with something that is no page"


def _lists(page: str, token: str, model: str) -> str:
    try:
        status, body = request("GET", f"{page}/api/models", ANSWER_SECONDS, {"Authorization": f"Bearer {token}"})
        names = [row["id"] for row in json.loads(body)["data"]] if status == 200 else []
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"its list of models can't be read: {type(error).__name__}"
    if status != 200:
        return f"its list of models answers {status}"
    return "" if model in names else f"its list of models ({', '.join(names) or 'empty'}) has no {model}"


def _websocket(port: int) -> str:
    lines = [
        "GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            words = connection.recv(64).split()
    except OSError as error:
        return f"a websocket is not answered: {type(error).__name__}"
    return "" if words[1:2] == [b"101"] else "a websocket is not opened"
