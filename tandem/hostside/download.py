"""Downloads that go on where they stopped: Range, a bound on silence, and patience that ends.

No credentials are ever sent. Proxies are those of the environment. The caller checks the hash of what came.
"""

import contextlib
import email.utils
import http.client
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tandem.domain.weights import FIRST_WAIT_SECONDS, TRIES, Wanted, size, wait_seconds

CHUNK = 2**20
AHEAD = 2**20
"""A try that brought so many bytes was not in vain."""
CRAWL_BYTES_PER_SECOND = 4096
"""A source slower than that over a whole stall time has stalled."""
LARGEST_ANSWER = 64 * 2**20

T = TypeVar("T")


class Unavailable(Exception):
    """This source does not give it. The message says why."""


class Unreachable(Unavailable):
    """This source can't be reached at all."""


class Stopped(Exception):
    """Another file has failed for good."""


class Passing(Exception):
    """It may work at the next try, after ``asked_seconds`` if the source said so."""

    def __init__(self, message: str, asked_seconds: float | None = None, reached: bool = True) -> None:
        super().__init__(message)
        self.asked_seconds, self.reached = asked_seconds, reached


class Overshot(Passing):
    """The source has nothing beyond what we have: start anew."""


@dataclass
class Net:
    """How patient downloads are, and whom they tell. ``came`` is told of bytes gained, or lost by starting anew."""

    stall_seconds: float
    say: Callable[[str], None]
    came: Callable[[int], None] = lambda _: None
    first_wait_seconds: float = FIRST_WAIT_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)


def patiently(net: Net, what: str, once: Callable[[], T], gained: Callable[[], int] = lambda: 0) -> T:
    """``once()``, tried again after what may pass; Unavailable after TRIES tries in a row that brought nothing."""
    tries = 0
    while True:
        before = gained()
        try:
            return once()
        except Passing as problem:
            tries = 1 if gained() - before >= AHEAD else tries + 1
            wait = wait_seconds(tries, problem.asked_seconds, net.first_wait_seconds)
            if wait is None:
                kind = Unavailable if problem.reached else Unreachable
                raise kind(f"{problem} ({tries} {'try' if tries == 1 else 'tries'})") from None
            net.say(f"{what}: {problem}; try {tries + 1} of {TRIES} in {wait:.0f} s")
            if net.stop.wait(wait):
                raise Stopped from None


def ask(net: Net, url: str, first: int | None = None) -> bytes:
    """The answer to a GET, or its ``first`` bytes. Raises Unavailable."""

    def once() -> bytes:
        with _opened(net, url, {} if first is None else {"Range": f"bytes=0-{first - 1}"}) as response:
            text: bytes = _read(response, net, LARGEST_ANSWER if first is None else first)
            return text

    return patiently(net, url, once)


def _read(response: Any, net: Net, most: int) -> bytes:
    try:
        found: bytes = response.read(most)
        return found
    except (OSError, http.client.HTTPException) as error:
        raise Passing(_broken(error, net)) from None


def stream(net: Net, url: str, take: Callable[[bytes], object]) -> int:
    """Hands a whole answer to ``take`` piece by piece, from the start at each try; answers its size."""
    total = 0
    with _opened(net, url, {}) as response:
        while chunk := _piece(response, net):
            take(chunk)
            total += len(chunk)
        length = response.headers.get("Content-Length", "")
    if length.isdigit() and total < int(length):
        raise Passing(f"the connection ended after {size(total)} of {size(int(length))}")
    return total


def download(net: Net, url: str, file: Wanted, part: str) -> None:
    """Completes ``part`` to the size of ``file``. Raises Unavailable, and leaves what came for the next source."""
    patiently(net, file.name, lambda: _go_on(net, url, file, part), lambda: os.path.getsize(part))


def _go_on(net: Net, url: str, file: Wanted, part: str) -> None:
    have = os.path.getsize(part)
    if have == file.bytes:
        return
    try:
        opened = _opened(net, url, {"Range": f"bytes={have}-"} if have else {})
    except Overshot as error:
        # Another source brought more than this one has: what came stays.
        raise Unavailable(f"{error}: it has less there than the {size(file.bytes)} of the manifest") from None
    with opened as response, open(part, "r+b") as target:
        if not _continues(response, have, file):
            target.truncate(0)
            net.came(-have)
            have = 0
        target.seek(have)
        mark, since = have, time.monotonic()
        while chunk := _piece(response, net):
            if net.stop.is_set():
                raise Stopped
            have += len(chunk)
            if have > file.bytes:
                raise Unavailable(f"it sends more than the {size(file.bytes)} of the manifest")
            target.write(chunk)
            net.came(len(chunk))
            if (spent := time.monotonic() - since) > net.stall_seconds:
                if have - mark < CRAWL_BYTES_PER_SECOND * spent and have < file.bytes:
                    raise Passing(f"it sent only {size(have - mark)} in {spent:.0f} s")
                mark, since = have, time.monotonic()
    if have < file.bytes:
        raise Passing(f"the connection ended after {size(have)} of {size(file.bytes)}")


def _piece(response: Any, net: Net) -> bytes:
    try:
        chunk: bytes = response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Passing(_broken(error, net)) from None
    return chunk


def _continues(response: Any, have: int, file: Wanted) -> bool:
    """Whether the answer goes on at ``have``; else it begins anew. Unavailable when it is of another size."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Unavailable(f"it is sent as {headers['Content-Encoding']}, not as it is")
    total, goes_on = headers.get("Content-Length"), False
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if not found or int(found[1]) != have:
            raise Unavailable(f"it answers a Range request with Content-Range {headers.get('Content-Range')}")
        total, goes_on = found[2], True
    if total is not None and total.isdigit() and int(total) != file.bytes:
        raise Unavailable(f"it has {int(total)} bytes there, the manifest says {file.bytes}")
    return goes_on


class _SameSafety(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to anything else, and none to other schemes than http and https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://" if req.type == "https" else ("http://", "https://")):
            raise ValueError(newurl.partition(":")[0])
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SameSafety)


def _opened(net: Net, url: str, headers: dict[str, str]) -> Any:
    """The response to a GET. urllib follows redirects, to other hosts too, with the same headers."""
    own = {"User-Agent": "tandem", "Accept-Encoding": "identity", **headers}
    try:
        request = urllib.request.Request(url, headers=own)  # noqa: S310 - the configuration allows http and https
        return _OPENER.open(request, timeout=net.stall_seconds)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error) from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"its certificate is not valid ({error.verify_message})") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Unreachable(f"its certificate is not valid ({error.reason.verify_message})") from None
        raise Passing(f"cannot connect ({_words(error.reason)})", reached=False) from None
    except (OSError, http.client.HTTPException) as error:
        raise Passing(_broken(error, net)) from None
    except ValueError as error:
        raise Unavailable(f"it redirects to an address that can't be used ({error})") from None


def _refused(error: urllib.error.HTTPError) -> Exception:
    said = f"HTTP {error.code} {error.headers.get('X-Error-Code') or error.reason}"
    if error.code == 416:
        return Overshot(said)
    if error.code in (408, 425, 429) or error.code >= 500:
        asked = _asked_seconds(error.headers)
        return Passing(f"{said}, wait {asked:.0f} s" if asked else said, asked)
    if error.code in (401, 403):
        return Unavailable(f"{said}: it asks for a login, and no credentials are sent")
    return Unavailable(said)


def _asked_seconds(headers: Any) -> float | None:
    """Retry-After in seconds or as a date; else the hub's own RateLimit header: ...;r=REMAINING;t=SECONDS."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    found = re.search(r";\s*t=(\d+)", headers.get("RateLimit", ""))
    return float(found[1]) if found else None


def _broken(error: Exception, net: Net) -> str:
    if isinstance(error, TimeoutError):
        return f"it sent nothing for {net.stall_seconds:.0f} s"
    return f"the connection broke ({_words(error)})"


def _words(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
