"""A client that does what it is told: one connection per request, no retries, TLS verified with the host's own CA."""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

PACE_SECONDS = 0.21
"""The edge allows five requests a second with one key."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("Set-Cookie", "")).items()}


class Site:
    def __init__(self, access: Mapping[str, Any], timeout_seconds: float = 120) -> None:
        self.access, self.timeout_seconds = access, timeout_seconds
        self.address = str(urlsplit(access["url"]).hostname)
        self.trust = ssl.create_default_context(cafile=access["ca_file"])
        self.last = 0.0

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access['api_key']}"}

    def key(self, client: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access['keys'][client]}"}

    def basic(self, password: str | None = None, user: str | None = None) -> dict[str, str]:
        """The first user's password unless another one, or another user, is named."""
        own = self.access["passwords"][user] if user else self.access["basic_password"]
        pair = f"{user or self.access['basic_user']}:{password or own}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    @cached_property
    def cookie(self) -> dict[str, str]:
        """What the first user's browser sends once it has the gate cookie. Passwords are limited: asked once."""
        (name, value), *_ = self.ask("GET", "/", self.basic()).cookies.items()
        return {"Cookie": f"{name}={value}"}

    @contextmanager
    def open(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self.address, timeout=self.timeout_seconds, context=self.trust)
        extra = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {**headers, **extra})
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Reply:
        with self.open(method, path, headers, body) as response:
            return Reply(response.status, dict(response.headers.items()), response.read())

    def chat(self, question: str) -> list[str]:
        """The pieces of a streamed answer from the API, as they came. Raises http.client.HTTPException unless 200."""
        time.sleep(max(0.0, self.last + PACE_SECONDS - time.monotonic()))
        self.last = time.monotonic()
        message = {"role": "user", "content": question}
        body = {"model": self.access["model"], "messages": [message], "stream": True, "temperature": 0}
        with self.open("POST", "/v1/chat/completions", self.bearer, body) as response:
            if response.status != 200:
                raise http.client.HTTPException(f"{response.status}: {response.read(500)!r}")
            return list(pieces(response))


def pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    """The text in a stream of server-sent events. Raises HTTPException when the stream ends without its last event."""
    for line in response:
        if line.strip() == b"data: [DONE]":
            return
        if line.startswith(b"data: "):
            for choice in json.loads(line[6:]).get("choices", []):
                if text := choice["delta"].get("content"):
                    yield text
    raise http.client.HTTPException("the stream was cut")
