"""Asks what runs here whether it serves: an engine by a real completion, WebUI and Nginx processes by a page."""

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tandem.domain.slots import ENGINE_BASE_PORT, WEBUI_PORT, engine_unit, webui_unit

MOST_CARDS: Final = 100
MOST_BYTES: Final = 1 << 20
COMPLETION_TOKENS: Final = 8
STATUS_TIMEOUT_SECONDS: Final = 5.0
CLOSED: Final = "not listening yet"


@dataclass(frozen=True)
class Target:
    """What is asked: a unit and its address. ``model`` is None for a WebUI."""

    unit: str
    url: str
    model: str | None = None


@dataclass(frozen=True)
class Answer:
    """``seconds`` is how long the answer took; ``why`` says what it was, or why there was none."""

    ready: bool
    seconds: float
    why: str


def engine_target(address: str, model: str) -> Target:
    """``URL`` (the unit follows from its port) or ``UNIT=URL``. Raises ValueError for anything else."""
    unit, url, port = _address(address)
    for slot, base in ENGINE_BASE_PORT.items():
        if base <= port < base + MOST_CARDS:
            unit = unit or engine_unit(slot, port - base)
    return Target(_named(unit, address), url, model)


def webui_target(address: str) -> Target:
    """``URL`` (the unit follows from its port) or ``UNIT=URL``. Raises ValueError for anything else."""
    unit, url, port = _address(address)
    for slot, known in WEBUI_PORT.items():
        if port == known:
            unit = unit or webui_unit(slot)
    return Target(_named(unit, address), url)


def probe(targets: Sequence[Target], key: str, timeout_seconds: float) -> dict[str, Answer]:
    """Ask all at the same time; each has ``timeout_seconds``. ``key`` is the secret that engines want to see."""
    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        answers = pool.map(lambda target: probe_one(target, key, timeout_seconds), targets)
        return {target.unit: answer for target, answer in zip(targets, answers, strict=True)}


def probe_one(target: Target, key: str, timeout_seconds: float) -> Answer:
    started = time.monotonic()
    try:
        if target.model is None:
            status, body = request("GET", f"{target.url}/ready", timeout_seconds)
            ready, why = status == 200, f"/ready answers {status}"
        else:
            status, body = request(
                "POST",
                f"{target.url}/v1/chat/completions",
                timeout_seconds,
                {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
                json.dumps(_question(target.model)).encode(),
            )
            ready, why = judge_completion(status, body)
    except ConnectionRefusedError:
        ready, why = False, CLOSED
    except TimeoutError:
        ready, why = False, f"no answer within {timeout_seconds:.3g} s"
    except (OSError, http.client.HTTPException) as error:
        ready, why = False, f"no answer: {type(error).__name__}"
    return Answer(ready, round(time.monotonic() - started, 3), why)


def judge_completion(status: int, body: bytes) -> tuple[bool, str]:
    """Whether this is a completion of at least one token, and what it is in a few words (never the text itself)."""
    if status in (401, 403):
        return False, f"refuses the upstream key ({status}): it was started with another one"
    if status == 404:
        return False, "does not serve a model of this name (404)"
    if status != 200:
        return False, f"a completion answers {status}"
    try:
        tokens = json.loads(body)["usage"]["completion_tokens"]
    except (ValueError, KeyError, TypeError):
        return False, "answers 200 with something that is not a completion"
    if not isinstance(tokens, int) or tokens < 1:
        return False, "answers 200 without a token"
    return True, f"completed {tokens} token{'s' if tokens > 1 else ''}"


def served(ports: Mapping[str, int]) -> dict[str, dict[str, str | None] | None]:
    """The active configuration of each Nginx unit as its status listener says it; None for one that does not answer."""
    return {unit: _served(port) for unit, port in ports.items()}


def request(
    method: str, url: str, timeout_seconds: float, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body (at most 1 MiB), straight to the address: no proxy setting of the environment counts.

    Raises OSError (TimeoutError when the whole takes longer than ``timeout_seconds``) or HTTPException.
    """
    deadline = time.monotonic() + timeout_seconds
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request(method, parts.path, body, dict(headers or {}))
        response = connection.getresponse()
        received = b""
        while len(received) < MOST_BYTES and (piece := response.read1(MOST_BYTES - len(received))):
            received += piece
            if time.monotonic() > deadline:
                raise TimeoutError
        return response.status, received
    finally:
        connection.close()


def _question(model: str) -> dict[str, object]:
    messages = [{"role": "user", "content": "Say ok."}]
    return {"model": model, "messages": messages, "max_tokens": COMPLETION_TOKENS, "temperature": 0, "stream": False}


def _served(port: int) -> dict[str, str | None] | None:
    try:
        status, body = request("GET", f"http://127.0.0.1:{port}/config", STATUS_TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    words = body.decode("ascii", errors="replace").split()
    if status != 200 or not 1 <= len(words) <= 2:
        return None
    return {"config": words[0], "secrets": words[1] if len(words) == 2 else None}


def _address(address: str) -> tuple[str | None, str, int]:
    unit, _, url = address.rpartition("=")
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path not in ("", "/"):
        raise ValueError(f"{address!r} is not an address like http://127.0.0.1:18100")
    return unit or None, f"http://{parts.netloc}", parts.port


def _named(unit: str | None, address: str) -> str:
    if unit is None:
        raise ValueError(f"no unit of Tandem listens at {address}; say which one answers there: UNIT={address}")
    return unit
