"""Users' load on a host, in a process of its own, so that nothing that the tests do delays its clocks.

    with Load(door, questions) as load:
        load.phase("before", QUIET)
        ...
    print(load.record.table())

``python -m tests.bench.load`` is that process: one line of JSON on standard input says what to do; its end ends it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.bench.clients import http2, official, raw, websocket
from tests.bench.crowd import Crowd
from tests.bench.door import Door
from tests.bench.questions import Question
from tests.bench.record import SETTLING, Asked, Phase, Record, Sort

ROOT: Final = Path(__file__).resolve().parents[2]
START_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Mix:
    """How many clients of each kind, and how long each waits between two requests. It ends by itself after so much."""

    official_new: int = 2
    official_kept: int = 2
    raw_back_to_back: int = 1
    raw_thinking: int = 2
    http2_streams: int = 4
    websockets: int = 3
    pause_seconds: float = 0.3
    think_seconds: float = 1.0
    answer_seconds: float = 120.0
    most_requests: int = 1_000_000
    most_seconds: float = 6 * 3600.0

    def clients(self, crowd: Crowd) -> list[Coroutine[Any, Any, None]]:
        pause = self.pause_seconds
        return [
            *(official(crowd, pause, kept=False) for _ in range(self.official_new)),
            *(official(crowd, pause, kept=True) for _ in range(self.official_kept)),
            *(raw(crowd, 0, kind="HTTP/1.1, back to back") for _ in range(self.raw_back_to_back)),
            *(raw(crowd, self.think_seconds, kind="HTTP/1.1, thinking") for _ in range(self.raw_thinking)),
            *([http2(crowd, pause, streams=self.http2_streams)] if self.http2_streams else []),
            *(websocket(crowd) for _ in range(self.websockets)),
        ]


class Load:
    """``start``, ``phase`` by ``phase``, then ``stop`` and look at ``record``."""

    def __init__(self, door: Door, questions: Sequence[Question], mix: Mix = Mix()) -> None:
        self._door, self._questions, self._mix = door, questions, mix
        self.phases: list[Phase] = []
        self.record = Record([], [], "not started")

    def __enter__(self) -> "Load":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once all clients are there. Raises RuntimeError when they can't be."""
        handle, self._file = tempfile.mkstemp(prefix="tandem-load-")
        order = {
            "door": asdict(self._door),
            "questions": [asdict(one) for one in self._questions],
            "mix": asdict(self._mix),
        }
        self.phase("starting", SETTLING)
        with os.fdopen(handle, "w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        end = time.monotonic() + START_SECONDS
        while not Path(self._file).stat().st_size:
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"the load did not start: {self.record.ended}")
            time.sleep(0.02)

    def phase(self, name: str, sort: Sort) -> None:
        """From now on; see ``Sort``."""
        self.phases.append(Phase(time.monotonic(), name, sort))

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> Record:
        """Every client finishes what it asked last. The record says so when the load had ended before."""
        early = self._process.poll()
        try:
            _, said = self._process.communicate(timeout=self._mix.answer_seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, said = self._process.communicate()
        text = Path(self._file).read_text()
        Path(self._file).unlink()
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        ended = lines[-1].get("why", "") if lines else ""
        if not ended:
            last = said.decode(errors="replace").strip().splitlines()[-1:] or [f"it was stopped ({early})"]
            ended = f"exit status {self._process.returncode}: {last[0]}"
        self.record = Record([Asked(**line) for line in lines if "kind" in line], self.phases, ended)
        return self.record


async def load(order: dict[str, Any]) -> None:
    """The process: a line per request on standard output, at last why it ended."""
    mix, door = Mix(**order["mix"]), Door(**order["door"])
    questions = [Question(**one) for one in order["questions"]]

    def write(seen: Asked) -> None:
        seen.arrivals = [round(arrival, 6) for arrival in seen.arrivals]
        print(json.dumps(asdict(seen)), flush=True)

    crowd = Crowd(door, questions, write, most_requests=mix.most_requests, answer_seconds=mix.answer_seconds)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def ending() -> None:
        told.set()
        crowd.over.set()
        loop.remove_reader(0)

    loop.add_reader(0, ending)
    late = loop.call_later(mix.most_seconds, crowd.over.set)
    clients = [asyncio.ensure_future(one) for one in mix.clients(crowd)]
    print(json.dumps({"started": len(clients)}), flush=True)
    await asyncio.gather(*clients)
    late.cancel()
    why = "stopped" if told.is_set() else "most requests" if crowd.used_up else "most seconds"
    print(json.dumps({"why": why}), flush=True)


def main() -> None:
    with os.fdopen(0, "rb", buffering=0, closefd=False) as given:
        order = json.loads(given.readline())
    asyncio.run(load(order))


if __name__ == "__main__":
    main()
