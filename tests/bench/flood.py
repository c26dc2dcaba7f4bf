"""python -m tests.bench.flood: wrong passwords over kept-alive connections, as fast as they are answered.

A process of its own, so that its work does not delay the streams that are being measured. Prints how many answers of
each status came.
"""

import argparse
import asyncio
import base64
import json
import secrets
import time
from collections import Counter
from pathlib import Path

from tests.bench.streams import Connection, Target


async def flood(port: int, ca_file: Path, connections: int, addresses: int, seconds: float) -> Counter[str]:
    """Try passwords from loopback addresses 127.0.1.1 and on, connection by connection in turn."""
    end, answers = time.monotonic() + seconds, Counter[str]()

    async def one(number: int) -> None:
        while time.monotonic() < end:
            try:
                await tries(f"127.0.1.{1 + number % addresses}")
            except (OSError, EOFError):
                answers["cut"] += 1

    async def tries(source: str) -> None:
        wrong = base64.b64encode(f"alice:{secrets.token_urlsafe(12)}".encode()).decode()
        async with Connection(Target(port, {"Authorization": f"Basic {wrong}"}, ca_file, source)) as connection:
            while connection.usable and time.monotonic() < end:
                answers[str(await connection.ask("GET", "/"))] += 1

    await asyncio.gather(*(one(number) for number in range(connections)))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description="A flood of wrong passwords against a front door on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--addresses", type=int, default=1, help="how many source addresses they come from")
    parser.add_argument("--seconds", type=float, default=10)
    print(json.dumps(asyncio.run(flood(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
