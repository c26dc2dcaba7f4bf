"""Tells people, by the operator's command or a POST to the operator's address, without waiting for either.

The address is a secret: it is in a file for root alone, never in a command line, an environment or a message.
"""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tandem.domain.notice import Notice, is_url, payload
from tandem.hostside import state, units
from tandem.hostside.paths import Paths

URL_FILE: Final = "notify_url"
LIMIT_SECONDS: Final = 30
TRIES: Final = 3
TRY_SECONDS: Final = 10.0
FIRST_WAIT_SECONDS: Final = 1.0

_POST: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tandem.hostside.notify import main; sys.exit(main(sys.argv[2]))"
)


def tell(event: str, sentence: str, paths: Paths, release: str | None = None) -> None:
    """Tell the operator, if anything is configured. Returns at once and raises nothing; failures go to the log.

    A process of its own does it, which is ended after 30 s, also when this one is gone by then. ``event``: one of
    ``notice.EVENTS``; ``release``: which one it is about, by default the one that serves.
    """
    try:
        command = _command(paths)
        if command:
            text = payload(
                Notice(socket.gethostname(), event, _masked(sentence, paths), _release(release, paths), _now())
            )
            _start(command, text, event)
    except Exception as error:
        _log(f"nobody was told of {event}: {type(error).__name__}")


def post(url: str, text: str, limit_seconds: float = LIMIT_SECONDS) -> str:
    """POST ``text`` (JSON); "" once that was taken, else why it was not. Tried three times where that may help."""
    deadline = time.monotonic() + limit_seconds
    problem = ""
    for attempt in range(TRIES):
        left = deadline - time.monotonic()
        if attempt:
            wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
            if left <= wait:
                break
            time.sleep(wait)
            left -= wait
        try:
            status = _post_once(url, text, min(TRY_SECONDS, left))
        except (OSError, http.client.HTTPException) as error:
            problem = f"no answer ({type(error).__name__})"
            continue
        if 200 <= status < 300:
            return ""
        problem = f"it answers {status}"
        if status < 500 and status not in (408, 425, 429):
            break
    return problem


def main(root: str) -> int:
    """Posts what standard input holds to the address in the secret file of the host at ``root``."""
    url = (Paths(Path(root)).secrets / URL_FILE).read_text(encoding="utf-8").strip()
    if not is_url(url):
        return 2
    return 1 if post(url, sys.stdin.read()) else 0


def _command(paths: Paths) -> list[str]:
    """What reads the notice; [] where nothing is configured."""
    try:
        found: Mapping[str, Any] = json.loads(paths.guard_settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    asked = found.get("notify") or {}
    if asked.get("command"):
        return [str(word) for word in asked["command"]]
    if asked.get("url"):
        return [sys.executable, "-IB", "-c", _POST, str(Path(__file__).parents[2]), str(paths.root)]
    return []


def _start(command: Sequence[str], text: str, event: str) -> None:
    """``timeout`` ends the command with all its children, whatever becomes of this process."""
    bounded = ["timeout", "--kill-after=1", str(LIMIT_SECONDS), *command]
    process = subprocess.Popen(
        bounded,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    if process.stdin:
        # Shorter than a pipe holds, so that this never waits for a reader.
        with contextlib.suppress(OSError), process.stdin as pipe:
            pipe.write(text.encode())
    threading.Thread(target=_reap, args=(process, event), name=f"notify-{event}", daemon=True).start()


def _reap(process: "subprocess.Popen[bytes]", event: str) -> None:
    status = process.wait()
    if status:
        took = f"took longer than {LIMIT_SECONDS} s" if status in (124, 137, -9) else f"ended with status {status}"
        _log(f"telling of {event} failed: what notify names {took}")


def _post_once(url: str, text: str, seconds: float) -> int:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    with contextlib.closing(connection):
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, text.encode(), {"Content-Type": "application/json", "User-Agent": "tandem"})
        return connection.getresponse().status


def _masked(sentence: str, paths: Paths) -> str:
    """A sentence may quote a log line."""
    return units.mask(sentence, units.known_secrets(paths.secrets))


def _release(given: str | None, paths: Paths) -> str:
    if given is not None:
        return given
    with contextlib.suppress(Exception):
        current = state.load(paths.state).current
        return current.release if current else ""
    return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _log(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)
