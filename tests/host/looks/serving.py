"""Runs on the host as root, standard library only: what answers, asked from the host itself, as one JSON line.

Input: one JSON argument {"secrets": folder, "engines": [ports], "webui": port, "https": port, "http": port,
"closed": [routes that must not answer], "signup": {...}, "admin": email, "model": name}.
"""

import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Long enough that a busy engine does not put all of it into one piece.
QUESTION = "Count to sixty in words."
SECONDS = 60


def secret(folder: str, name: str) -> str:
    with open(f"{folder}/{name}") as file:
        return file.read().strip()


class Door:
    """One address to ask. ``names``: what the certificate says; the first is the one that is checked."""

    def __init__(self, port: int, authority: str | None = None) -> None:
        self.port, self.trust, self.names, self.days_left = port, None, [""], 0.0
        if authority:
            self.trust = ssl.create_default_context(cafile=authority)
            self._read_certificate()

    def _read_certificate(self) -> None:
        assert self.trust
        self.trust.check_hostname = False
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as plain, self.trust.wrap_socket(plain) as tls:
            seen: Any = tls.getpeercert()
        self.trust.check_hostname = True
        self.names = [name for _, name in seen["subjectAltName"]]
        self.days_left = (ssl.cert_time_to_seconds(seen["notAfter"]) - time.time()) / 86400

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        if self.trust:
            plain = socket.create_connection(("127.0.0.1", self.port), SECONDS)
            connection.sock = self.trust.wrap_socket(plain, server_hostname=self.names[0])
        return connection

    def ask(self, method: str, path: str, key: str | None = None, body: Any = None) -> tuple[int, bytes, Any]:
        headers = {"Host": self.names[0] or "localhost", **({"Authorization": f"Bearer {key}"} if key else {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self.connect()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def status(self, method: str, path: str, key: str | None = None, body: Any = None) -> int:
        return self.ask(method, path, key, body)[0]

    def stream(self, key: str, model: str) -> dict[str, Any]:
        """A streamed completion: how many pieces of text came, how it ended, and what it took."""
        began, connection = time.monotonic(), self.connect()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(question(model)), headers)
        response = connection.getresponse()
        events = list(server_sent(response))
        connection.close()
        deltas = [choice["delta"] for event in events[:-1] for choice in json.loads(event)["choices"]]
        pieces = [delta for delta in deltas if any(delta.get(k) for k in ("content", "reasoning", "reasoning_content"))]
        return {
            "status": response.status,
            "type": response.headers["Content-Type"],
            "pieces": len(pieces),
            "done": events[-1:] == ["[DONE]"],
            "seconds": round(time.monotonic() - began, 2),
        }


def question(model: str) -> dict[str, Any]:
    message = {"role": "user", "content": QUESTION}
    return {"model": model, "messages": [message], "stream": True, "temperature": 0, "max_tokens": 64}


def server_sent(response: http.client.HTTPResponse) -> Iterator[str]:
    for line in response:
        if line.startswith(b"data: "):
            yield line[6:].strip().decode()


def engine(port: int, key: str, model: str) -> dict[str, Any]:
    door = Door(port)
    return {
        "models": [row["id"] for row in json.loads(door.ask("GET", "/v1/models", key)[1])["data"]],
        "without_key": door.status("POST", "/v1/chat/completions", None, question(model)),
        "documentation": [door.status("GET", path) for path in ("/docs", "/redoc", "/openapi.json")],
        "stream": door.stream(key, model),
    }


def edge(asked: dict[str, Any], key: str) -> dict[str, Any]:
    door = Door(asked["https"], f"{asked['secrets']}/edge/ca.crt")
    status, body, headers = door.ask("GET", "/v1/models")
    page = door.ask("GET", "/")
    redirect = Door(asked["http"]).ask("GET", "/some/page?x=1")
    return {
        "names": door.names,
        "days_left": door.days_left,
        "without_key": [status, sorted(json.loads(body)), headers["WWW-Authenticate"]],
        "shouted_key": door.status("GET", "/v1/models", key.upper()),
        "models": [row["id"] for row in json.loads(door.ask("GET", "/v1/models", key)[1])["data"]],
        "stream": door.stream(key, asked["model"]),
        "closed": {path: door.status("GET", path, key) for path in asked["closed"]},
        "without_password": [page[0], page[2]["WWW-Authenticate"]],
        "redirect": [redirect[0], redirect[2]["Location"]],
    }


def webui(asked: dict[str, Any]) -> dict[str, Any]:
    door = Door(asked["webui"])
    password = secret(asked["secrets"], "webui_admin_password")
    status, body, _ = door.ask("POST", "/api/v1/auths/signin", None, {"email": asked["admin"], "password": password})
    session = json.loads(body) if status == 200 else {}
    models = door.ask("GET", "/api/models", session.get("token"))[1] if session else b"{}"
    return {
        "ready": door.status("GET", "/ready"),
        "signup": door.status("POST", "/api/v1/auths/signup", None, asked["signup"]),
        "signin": [status, session.get("role")],
        "models": [row["id"] for row in json.loads(models).get("data", [])],
        "without_session": door.status("GET", "/api/models"),
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    client = min(os.listdir(f"{asked['secrets']}/keys"))
    upstream, key = secret(asked["secrets"], "upstream_key"), secret(asked["secrets"], f"keys/{client}")
    with ThreadPoolExecutor() as pool:
        engines = [pool.submit(engine, port, upstream, asked["model"]) for port in asked["engines"]]
        front, page = pool.submit(edge, asked, key), pool.submit(webui, asked)
        answer = {
            "engines": {port: one.result() for port, one in zip(asked["engines"], engines, strict=True)},
            "edge": front.result(),
            "webui": page.result(),
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
