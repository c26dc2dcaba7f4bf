"""What an engine counts, as its /metrics says: requests and tokens."""

import http.client
import io
import math
import re
import socket
import time
from typing import Any, Final, cast

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
CACHE: Final = "vllm:kv_cache_usage_perc"
"""Despite its name a share, 0 to 1."""
TOKENS: Final = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")

CONNECT_TIMEOUT_SECONDS: Final = 1.0
ANSWER_TIMEOUT_SECONDS: Final = 2.0
MOST_BYTES: Final = 4 << 20

_SAMPLE: Final = re.compile(r"(vllm:[a-z_]+)(?:\{.*\})?\s+(\S+)(?:\s+\S+)?", re.ASCII)


def ask(port: int) -> dict[str, float]:
    """The counters of the engine at this loopback port; {} if what it answers has none of them.

    Raises OSError (ConnectionRefusedError when the port is closed) or HTTPException, within 3 s.
    """
    return counters_in(_read(port))


def counters_in(text: str) -> dict[str, float]:
    """Requests and tokens in the metrics of an engine, each summed over its labels; {} if this is no such text."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("vllm:") or not (match := _SAMPLE.fullmatch(line.rstrip())):
            continue
        name, said = match.groups()
        if name not in (RUNNING, WAITING, CACHE, *TOKENS):
            continue
        try:
            value = float(said)
        except ValueError:
            continue
        if math.isfinite(value):
            found[name] = found.get(name, 0.0) + value
    return found


def _read(port: int) -> str:
    """Raises OSError or HTTPException; the whole takes at most 3 s, however slowly the bytes come."""
    with socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_SECONDS) as connection:
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        connection.settimeout(ANSWER_TIMEOUT_SECONDS)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        with http.client.HTTPResponse(cast(Any, _Timed(connection, deadline)), method="GET") as response:
            response.begin()
            if response.status != 200:
                raise http.client.HTTPException(f"/metrics answers {response.status}")
            return response.read(MOST_BYTES).decode("utf-8", errors="replace")


class _Timed(io.RawIOBase):
    """A socket to read from until ``deadline``: its own timeout would count for each piece anew."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)
