"""A flood of wrong passwords while answers are streamed: what the streams notice, and whether the right one gets in."""

import asyncio
import json
import sys
import time
from collections import Counter

from tests.bench.report import Report, milliseconds
from tests.bench.site import TOKEN_GAP_SECONDS, Site
from tests.bench.streams import Connection, Stream, quantile, streams

STREAMS, SECONDS, CONNECTIONS = 20, 10, 16
Both = tuple[list[Stream], list[Stream]]
"""Streams through the edge, and as many at the same time from an engine directly."""


async def flooded(site: Site, report: Report, cookie: dict[str, str]) -> None:
    report.section(
        f"Wrong passwords from {CONNECTIONS} connections for {SECONDS} s while {STREAMS} answers are streamed"
    )
    quiet = await _both(site, report)
    _rows(report, "no flood", quiet, quiet)
    for addresses in (1, CONNECTIONS):
        streamed, flood, entered = await asyncio.gather(
            _both(site, report), _flood(site, addresses), _enter(site, cookie)
        )
        who = f"flood from {addresses} address{'es' if addresses > 1 else ''}"
        answers = ", ".join(f"{flood[status]} x {status}" for status in sorted(flood))
        report.row(f"{who}: answers", answers, "few 401, the rest 429")
        _rows(report, who, streamed, quiet)
        for (name, status, seconds), must in zip(entered, (addresses == 1, True), strict=True):
            report.row(f"{who}: {name} from 127.0.0.2", f"{status} in {milliseconds(seconds)}", "200" if must else "")
            report.failed(f"{name} during the {who}", [f"status {status}"] if must and status != 200 else [])
        report.failed("connections of the flood", ["cut"] * flood["cut"])


async def _both(site: Site, report: Report) -> Both:
    """What the direct streams feel is this machine's doing, not the front door's."""
    tokens = int(SECONDS / TOKEN_GAP_SECONDS)
    both = await asyncio.gather(
        *(streams(target, STREAMS, tokens, TOKEN_GAP_SECONDS * 7) for target in (site.through(), site.direct()))
    )
    report.failed("streams during the flood", (one.wrong for side in both for one in side))
    return both[0], both[1]


def _rows(report: Report, what: str, now: Both, quiet: Both) -> None:
    """Ratios to the same streams without a flood, and to the direct streams that ran beside them."""
    through, direct = (_gaps(side) for side in now)
    for name, (p99, largest) in (("through", through), ("direct", direct)):
        report.row(f"{what}, {name}: token gap p99, largest", f"{milliseconds(p99)}, {milliseconds(largest)}")
    if now is not quiet:
        for name, other in (("no flood", _gaps(quiet[0])), ("direct at the same time", direct)):
            ratios = f"{through[0] / other[0]:.2f}, {through[1] / other[1]:.2f}"
            report.row(f"{what}: ratio to {name}", ratios, "at most 1.5")


def _gaps(seen: list[Stream]) -> tuple[float, float]:
    gaps = [gap for one in seen for gap in one.gaps]
    return quantile(gaps, 0.99), max(gaps)


async def _flood(site: Site, addresses: int) -> Counter[str]:
    options = ["--port", str(site.config.edge.https_port), "--ca-file", str(site.ca_file)]
    options += ["--connections", str(CONNECTIONS), "--addresses", str(addresses), "--seconds", str(SECONDS)]
    # A flood comes with processors of its own; here it takes what the others leave.
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.bench.flood", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return Counter(json.loads(output))


async def _enter(site: Site, cookie: dict[str, str]) -> list[tuple[str, int, float]]:
    """Come in the middle of it with the right password and with the cookie: status and seconds of each.

    From as many addresses as the flood has, wrong passwords use up what all people together may try; who holds the
    cookie must not notice.
    """
    await asyncio.sleep(SECONDS / 2)
    entered = []
    for name, headers in (("the right password", site.login), ("the cookie", cookie)):
        start = time.monotonic()
        async with Connection(site.through(headers, source="127.0.0.2")) as connection:
            status = await connection.ask("GET", "/")
        entered.append((name, status, time.monotonic() - start))
    return entered
