"""Keys, the edge's configuration and the certificate changed under load: what clients lose by each, retries off."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.bench.report import Report
from tests.bench.site import TOKEN_GAP_SECONDS, Site
from tests.bench.streams import Connection, Target, streams

CHANGES, CLIENTS, THINK_SECONDS = 20, 24, 0.004
STREAMS, STREAM_SECONDS = 20, 4


async def keys_changed(site: Site, report: Report, _: dict[str, str]) -> None:
    """Another client's key each time; the load's own stays."""

    async def change(number: int) -> None:
        await asyncio.to_thread(site.ensure, given={"keys/changing": _key(number)})
        old = site.workers("gate")
        site.reload_gate()
        await _until(lambda: not old & site.workers("gate") and site.gate_serves_its_secrets())

    report.section(f"{CHANGES} changes under {CLIENTS} kept-alive connections over TLS, retries off")
    lost, asked = await _changing(site.through(), change)
    report.failed("requests while keys changed", lost)
    report.row("keys changed (gate reloaded): requests lost", f"{len(lost)} of {asked}", "0")
    statuses = []
    for number in (CHANGES - 2, CHANGES - 1):
        async with Connection(site.through({"Authorization": f"Bearer {_key(number)}"})) as connection:
            statuses.append(await connection.ask("GET", "/v1/models"))
    report.row("the key before the last, the last one", f"{statuses[0]}, {statuses[1]}", "401, 200")
    report.failed("changed keys", [] if statuses == [401, 200] else [str(statuses)])


async def edge_reloaded(site: Site, report: Report, _: dict[str, str]) -> None:
    """What install warns of before it reloads the edge; a loss here is no failure."""

    async def change(_: int) -> None:
        old = site.workers("edge")
        site.reload_edge()
        await _until(lambda: not old & site.workers("edge"))

    lost, asked = await _changing(site.through(), change)
    share = f"{len(lost)} of {asked} ({100 * len(lost) / asked:.2f} %)"
    report.row("edge reloaded: requests lost", share)
    report.row("edge reloaded: lost per reload and connection", f"{len(lost) / CHANGES / CLIENTS:.3f}")
    for trouble, times in Counter(lost).most_common(3):
        report.row(f"edge reloaded: {trouble}", str(times))


async def certificate_replaced(site: Site, report: Report, _: dict[str, str]) -> None:
    report.section(f"Another certificate while {STREAMS} answers are streamed")
    before = await _certificate(site)
    running = asyncio.create_task(streams(site.through(), STREAMS, int(STREAM_SECONDS / TOKEN_GAP_SECONDS), 0.5))
    await asyncio.sleep(STREAM_SECONDS / 2)
    await asyncio.to_thread(site.ensure, names=["127.0.0.1", "localhost"])
    after, cut = await _certificate(site), [one.wrong for one in await running]
    report.failed("streams while the certificate was replaced", cut)
    report.failed("next handshake", ["it still shows the old certificate"] if after == before else [])
    report.row("streams cut", f"{sum(map(bool, cut))} of {len(cut)}", "0")
    report.row("next handshake shows", "the old one" if after == before else "the new one", "the new one")


async def _changing(target: Target, change: Callable[[int], Awaitable[None]]) -> tuple[list[str], int]:
    """Change something again and again under load; returns what was lost, and how many requests there were."""
    lost: list[str] = []
    asked, over = 0, False

    async def client() -> None:
        nonlocal asked
        while not over:
            try:
                async with Connection(target) as connection:
                    while connection.usable and not over:
                        asked += 1
                        status = await connection.ask("GET", "/v1/models")
                        if status != 200:
                            lost.append(f"status {status}")
                        await asyncio.sleep(THINK_SECONDS)
            except (OSError, EOFError) as error:
                lost.append(type(error).__name__)

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    for number in range(CHANGES):
        await asyncio.sleep(0.1)
        await change(number)
    over = True
    await asyncio.gather(*clients)
    return lost, asked


async def _certificate(site: Site) -> str:
    async with Connection(site.through()) as connection:
        return hashlib.sha256(connection.certificate).hexdigest()


async def _until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def _key(number: int) -> str:
    return f"sk-bench-made-up-{number:04}"
