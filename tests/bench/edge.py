"""python -m tests.bench.edge: what the front door costs and bears, measured beside an engine asked directly.

Edge, gate and routers are the rendered ones, as processes on this machine; the engines count at a fixed pace. Prints
figures beside the goals and asserts no time. Exit status 1: something failed outright, such as a cut stream, a
lost event, a page request or a right password that was refused.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.bench.flooding import flooded
from tests.bench.page import SOCKET, paths
from tests.bench.processors import used
from tests.bench.reloads import certificate_replaced, edge_reloaded, keys_changed
from tests.bench.report import Report, milliseconds
from tests.bench.site import TOKEN_GAP_SECONDS, Site, site
from tests.bench.streams import Connection, Stream, Target, quantile, stream, streams, websocket
from tests.unit.nginx_process import PROGRAM

PAIRS = 200
HOLD_SECONDS = 30
STREAMS, SOCKETS, DIRECT_STREAMS = 50, 20, 10
PAGES = 4
Asking = Callable[[], Awaitable[Stream]]


async def first_tokens(site: Site, report: Report, _: dict[str, str]) -> None:
    """The same question to the edge and to an engine, in turn; which of them is first alternates."""
    report.section(f"Time to first token, {PAIRS} pairs each, one request at a time")
    through, direct = site.through(), site.direct()
    await _pairs(report, "new connection each", [lambda: stream(through, 1), lambda: stream(direct, 1)])
    async with Connection(through) as one, Connection(direct) as other:
        await _pairs(report, "kept-alive", [lambda: stream(through, 1, one), lambda: stream(direct, 1, other)])


async def _pairs(report: Report, what: str, both: Sequence[Asking]) -> None:
    seen: list[list[Stream]] = [[], []]
    for number in range(PAIRS):
        for side in (0, 1) if number % 2 else (1, 0):
            seen[side].append(await both[side]())
    report.failed(f"first token, {what}", (one.wrong for side in seen for one in side))
    through, direct = ([one.first_token_seconds for one in side] for side in seen)
    added = [one - other for one, other in zip(through, direct, strict=True)]
    for name, values, goal in (("through", through, ""), ("direct", direct, ""), ("added", added, "p95 at most 20 ms")):
        figure = f"{milliseconds(statistics.median(values))}, p95 {milliseconds(quantile(values, 0.95))}"
        report.row(f"{what}: {name}, median and p95", figure, goal)


async def hold(site: Site, report: Report, cookie: dict[str, str]) -> None:
    report.section(f"{STREAMS} streams and {SOCKETS} websockets at once for {HOLD_SECONDS} s")
    tokens = int(HOLD_SECONDS / TOKEN_GAP_SECONDS)
    through, direct, sockets = await asyncio.gather(
        streams(site.through(), STREAMS, tokens, TOKEN_GAP_SECONDS * 7),
        streams(site.direct(), DIRECT_STREAMS, tokens, TOKEN_GAP_SECONDS * 7),
        asyncio.gather(*(websocket(site.through(cookie), SOCKET, HOLD_SECONDS) for _ in range(SOCKETS))),
    )
    report.failed("held streams", (one.wrong for one in (*through, *direct)))
    report.failed("held websockets", sockets)
    wrong = sum(bool(one.wrong) for one in through), sum(bool(one) for one in sockets)
    report.row("streams, websockets that were cut or lost or repeated events", f"{wrong[0]}, {wrong[1]}", "0, 0")
    crowded = sum(one.crowded for one in through)
    report.row("tokens that came together with another in one chunk", f"{crowded} of {STREAMS * tokens}", "0")
    gap_rows(report, "through", through)
    gap_rows(report, f"direct ({DIRECT_STREAMS} streams, same time)", direct)


def gap_rows(report: Report, what: str, seen: list[Stream]) -> None:
    gaps = [gap for one in seen for gap in one.gaps]
    late = [gap - TOKEN_GAP_SECONDS for gap in gaps]
    figure = f"{milliseconds(quantile(gaps, 0.99))}, {milliseconds(max(gaps))}"
    report.row(f"{what}: token gap p99, largest", figure)
    report.row(f"{what}: jitter of the gap (standard deviation)", milliseconds(statistics.pstdev(late)))


async def gate_cookie(site: Site) -> str:
    """What a browser holds after its first visit."""
    async with Connection(site.through(site.login)) as connection:
        _, headers = await connection.request("GET", "/")
    return headers["set-cookie"].partition(";")[0]


async def pages(site: Site, report: Report, cookie: dict[str, str]) -> None:
    report.section(f"{PAGES} browsers open the page at once, {len(paths()) + 1} requests each over HTTP/2")
    base = f"https://127.0.0.1:{site.config.edge.https_port}"
    seconds, answers = await _load(PAGES, base, site.through(cookie))
    refused = [answer for answer in answers if answer != "200 2"]
    report.failed("page load", refused)
    report.row("page requests refused", f"{len(refused)} of {len(answers)}", "0")
    report.row("until the last page was whole", f"{seconds:.2f} s")
    direct = Target(site.page_port, {})
    seconds, _ = await _load(PAGES, f"http://127.0.0.1:{site.page_port}", direct)
    report.row("the same from the page's server directly (HTTP/1.1)", f"{seconds:.2f} s")


async def _load(browsers: int, base: str, target: Target) -> tuple[float, list[str]]:
    """Seconds, and status and HTTP version of every answer."""
    lines = [f'header = "{name}: {value}"' for name, value in target.headers.items()]
    for path in ("/", *paths()):
        lines += [f"url = {base}{path}", "output = /dev/null"]
    command = ["curl", "--no-progress-meter", "--parallel", "--parallel-max", "100", "--http2", "--max-time", "30"]
    command += ["--write-out", "%{http_code} %{http_version}\n", "--config", "-"]
    if target.ca_file:
        command += ["--cacert", str(target.ca_file)]

    async def one() -> list[str]:
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        output, _ = await process.communicate("\n".join(lines).encode())
        return output.decode().splitlines()

    start = time.monotonic()
    loaded = await asyncio.gather(*(one() for _ in range(browsers)))
    return time.monotonic() - start, [answer for answers in loaded for answer in answers]


PARTS: dict[str, Callable[[Site, Report, dict[str, str]], Awaitable[None]]] = {
    "first-token": first_tokens,
    "hold": hold,
    "page": pages,
    "flood": flooded,
    "keys": keys_changed,
    "reload": edge_reloaded,
    "certificate": certificate_replaced,
}


async def measure(site: Site, report: Report, parts: Sequence[str]) -> None:
    cookie = {"Cookie": await gate_cookie(site)}
    for part in parts:
        before, start = used(), time.monotonic()
        await PARTS[part](site, report, cookie)
        seconds = time.monotonic() - start
        report.row(f"processors busy in these {seconds:.0f} s: this benchmark, others", used().since(before, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description="What the front door costs and bears.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of them by default: {', '.join(PARTS)}")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    start = time.monotonic()
    version = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stderr.split()[-1]
    print(f"{version}, {os.cpu_count()} processors for front door, engines and load together")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder, site(Path(folder)) as running:
        asyncio.run(measure(running, report, parts))
    print(f"\n{time.monotonic() - start:.0f} s in all; {len(report.failures)} failures")
    for failure in report.failures:
        print(f"  FAIL  {failure}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
