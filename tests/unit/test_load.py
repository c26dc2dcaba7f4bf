"""The load counts each kind of failure: real clients in their process against real servers with planted faults."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.rehearsal.serving import Reply, Request
from tests.bench.crowd import Wrong, check
from tests.bench.door import Door
from tests.bench.load import Load, Mix
from tests.bench.pace import Engine, Pace
from tests.bench.page import SOCKET, Page
from tests.bench.questions import Question, counting, rehearsal
from tests.bench.record import BROKEN, MOVING, QUIET, SETTLING, SORTS, UNHURT, Asked, Phase, Record
from tests.unit.nginx_process import free_ports, nginx
from tests.unit.test_pace import served

TOKENS, REQUESTS = 6, 8
NONE = Mix(0, 0, 0, 0, 0, 0, pause_seconds=0.01, think_seconds=0.05, answer_seconds=2, most_requests=REQUESTS)
FRONT = """
pid nginx.pid;
events {{ }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port} http2;
        location / {{
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_pass http://127.0.0.1:{engine};
        }}
    }}
}}
"""


class Altered(Pace):
    """Counts as it is told to."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(0.001, 0.001)
        object.__setattr__(self, "_numbers", numbers)

    async def tokens(self, count: int) -> AsyncIterator[int]:
        for number in vars(self)["_numbers"]:
            yield number


WRONG = {
    "lost": [0, 1, 3, 4, 5],
    "repeated": [0, 1, 1, 2, 3, 4, 5],
    "overtaken": [0, 2, 1, 3, 4, 5],
    "another answer": [0, 1, 2, 77, 4, 5],
}


class Planted:
    """An engine that counts; its requests of these numbers meet a fault."""

    def __init__(self, faults: Mapping[int, str]) -> None:
        self._faults, self._asked = faults, 0
        self._good = Engine(Pace(0.002, 0.001))

    async def handle(self, request: Request, reply: Reply) -> None:
        fault = self._faults.get(self._asked, "")
        self._asked += 1
        if fault in WRONG:
            await Engine(Altered(WRONG[fault])).handle(request, reply)
        elif fault == "status 500":
            await reply.json(500, {"error": {"message": "planted", "type": "x", "param": None, "code": 500}})
        elif fault == "reset":
            at_once = struct.pack("ii", 1, 0)  # without it the kernel says goodbye
            reply._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            reply.cut()
        elif fault == "closed":
            reply.keep = False
        elif fault == "cut":
            await reply.event('{"choices":[{"index":0,"delta":{"content":"0 "},"finish_reason":null}]}')
            await asyncio.sleep(0.05)
            reply.cut()
        elif fault == "no end":
            for number in range(TOKENS):
                finish = '"length"' if number == TOKENS - 1 else "null"
                content = f'{{"content":"{number} "}}'
                await reply.event(f'{{"choices":[{{"index":0,"delta":{content},"finish_reason":{finish}}}]}}')
            await reply.end_events()
        elif fault == "timeout":
            await asyncio.sleep(4)
        else:
            await self._good.handle(request, reply)
            if fault == "closed while idle":
                reply.keep = False


@contextmanager
def planted(faults: Mapping[int, str]) -> Iterator[Door]:
    with served(Planted(faults).handle) as port:
        yield Door("127.0.0.1", port, "sk-made-up", "pace")


def loaded(door: Door, mix: Mix) -> Record:
    """The record of a load that ends by itself once it asked all it may."""
    with Load(door, counting(TOKENS), mix) as load:
        end = time.monotonic() + 20
        while load.running and time.monotonic() < end:
            time.sleep(0.02)
    return load.record


def only(**clients: int) -> Mix:
    return Mix(**{**vars(NONE), **clients})


KINDS = {
    "openai, new": only(official_new=1),
    "openai, kept": only(official_kept=1),
    "HTTP/1.1, back to back": only(raw_back_to_back=1),
    "HTTP/1.1, thinking": only(raw_thinking=1),
}
FAULTS = ("status 500", "reset", "closed", "cut", "timeout", *WRONG)
AT = {2 * number + 1: fault for number, fault in enumerate((*FAULTS, "no end"))}
"""Every other request is a good one."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_failure_is_counted_once_and_as_what_it_is(kind: str) -> None:
    """All but an end without [DONE]: the official client does not tell."""
    with planted({number: fault for number, fault in AT.items() if fault != "no end"}) as door:
        record = loaded(door, replace(KINDS[kind], most_requests=2 * len(FAULTS) + 1))
    assert record.ended == "most requests"
    assert {one.kind for one in record.asked} == {kind}
    assert [one.trouble for one in record.asked] == [AT.get(number, "") for number in range(2 * len(FAULTS) + 1)]
    sums = record.of(SETTLING)
    assert (sums.failed, sums.cut, sums.corrupted, sums.dropped) == (4, 1, 4, 0)


def test_each_failure_is_counted_over_http2_behind_nginx(tmp_path: Path) -> None:
    """A connection of Nginx to the engine that ends before the answer is a 502 of Nginx."""
    (port,) = free_ports(1)
    with planted(AT) as door, nginx(FRONT.format(port=port, engine=door.port), tmp_path / "front"):
        mix = only(http2_streams=1, most_requests=2 * len(AT) + 1)
        record = loaded(Door(door.address, port, door.key, door.model), mix)
    seen = {"reset": "status 502", "closed": "status 502", "no end": "cut"}
    expected = [AT.get(number, "") for number in range(2 * len(AT) + 1)]
    assert [one.trouble for one in record.asked] == [seen.get(fault, fault) for fault in expected]


def test_a_stream_without_its_last_event_is_cut_for_the_official_client_if_it_has_no_reason_either() -> None:
    with pytest.raises(Wrong, match="cut"):
        check(counting(2)[0], "0 1 ", None)


def test_a_kept_connection_that_is_closed_while_idle_is_noted_and_is_no_failure() -> None:
    with planted({2: "closed while idle"}) as door:
        record = loaded(door, KINDS["HTTP/1.1, thinking"])
    assert [one.reopened for one in record.asked] == [number == 3 for number in range(REQUESTS)]
    assert record.of(SETTLING).wrong == 0


def test_without_faults_every_kind_is_answered_and_nothing_is_counted(tmp_path: Path) -> None:
    mix = only(official_new=1, official_kept=1, raw_back_to_back=1, raw_thinking=1, most_requests=40)
    with planted({}) as door:
        record = loaded(door, mix)
    sums = record.of(SETTLING)
    assert (sums.requests, sums.wrong, sums.reopened) == (40, 0, 0)
    assert {one.kind for one in record.asked} == set(KINDS)
    assert all(0 < one.arrivals[0] < 1 for one in record.asked)
    assert "none of 40 wrong: below 7.500 %" in record.table()


def test_a_port_where_nobody_listens_refuses() -> None:
    (port,) = free_ports(1)
    record = loaded(Door("127.0.0.1", port, "sk", "pace"), only(official_new=1, raw_thinking=1, most_requests=4))
    assert [one.trouble for one in record.asked] == ["refused"] * 4


class Dropping:
    """A page whose first websocket is reset after a while."""

    def __init__(self) -> None:
        self._page, self._first = Page(0.05), True

    async def handle(self, request: Request, reply: Reply) -> None:
        if not self._first:
            return await self._page.handle(request, reply)
        self._first = False
        opened = reply.websocket(request)
        reading = asyncio.create_task(opened.receive())
        await asyncio.sleep(0.6)
        reply.cut()
        reading.cancel()


def test_a_dropped_websocket_is_counted_and_opened_anew() -> None:
    with (
        served(Dropping().handle) as port,
        Load(Door("127.0.0.1", port, "sk", "pace", socket=SOCKET), counting(1), only(websockets=1)) as load,
    ):
        time.sleep(2)
    assert [one.trouble for one in load.record.asked] == ["dropped", ""]
    assert load.record.of(SETTLING).dropped == 1
    assert load.record.ended == "stopped"
    assert len(load.record.asked[1].arrivals) >= 2


class SocketIo:
    """As Open WebUI's: a greeting that wants an answer, then pings of its own."""

    def __init__(self) -> None:
        self.heard: list[str | None] = []

    async def handle(self, request: Request, reply: Reply) -> None:
        opened = reply.websocket(request)
        await opened.send('0{"sid":"x","pingInterval":25000}')
        self.heard.append(await opened.receive())
        await opened.send("2")
        self.heard.append(await opened.receive())
        await opened.receive()


def test_a_websocket_speaks_as_socket_io_wants_it() -> None:
    page = SocketIo()
    with (
        served(page.handle) as port,
        Load(Door("127.0.0.1", port, "sk", "pace", socket=SOCKET), counting(1), only(websockets=1)) as load,
    ):
        time.sleep(1)
    assert page.heard == ["40", "3"]
    assert [one.trouble for one in load.record.asked] == [""]


def test_a_load_that_was_killed_says_so() -> None:
    with planted({}) as door, Load(door, counting(TOKENS), only(raw_thinking=1, most_requests=10_000)) as load:
        time.sleep(0.5)
        load._process.kill()
        load._process.wait()
    assert load.record.ended.startswith("exit status -9")
    assert "THE LOAD ENDED BY ITSELF" in load.record.table()
    assert load.record.of(SETTLING).requests > 0


def test_the_key_is_no_argument_of_the_process() -> None:
    with planted({}) as door, Load(door, counting(TOKENS), only(raw_thinking=1, most_requests=10_000)) as load:
        arguments = Path(f"/proc/{load._process.pid}/cmdline").read_bytes()
    assert b"tests.bench.load" in arguments
    assert door.key.encode() not in arguments
    assert door.key not in repr(door)


PHASES = [Phase(10, "before", QUIET), Phase(20, "shift", MOVING), Phase(30, "after", QUIET), Phase(40, "kill", BROKEN)]


def test_a_wait_that_touches_what_moved_belongs_to_it() -> None:
    began = [
        Asked("k", 11, 15, arrivals=[0.5, 1.0]),  # quiet: 0.5
        Asked("k", 18, 22, arrivals=[1.0, 3.0]),  # into the shift: 2
        Asked("k", 28, 33, arrivals=[1.0, 4.0]),  # out of it: 3
        Asked("k", 19, 31, arrivals=[0.5, 11.9]),  # across all of it: 11.4
    ]
    record = Record(began, PHASES)
    assert record.of(QUIET).gaps == [0.5]
    assert sorted(record.of(MOVING).gaps) == pytest.approx([2, 3, 11.4])
    assert record.extra_gap_seconds == pytest.approx(10.9)
    assert record.late(MOVING) == (3, 3)
    assert record.late(QUIET) == (0, 1)


def test_a_wait_that_began_while_something_moved_is_no_wait_for_what_settled_then() -> None:
    phases = [Phase(10, "up", SETTLING), Phase(20, "move", MOVING), Phase(22, "down", SETTLING), Phase(30, "x", QUIET)]
    record = Record([Asked("k", 19, 31, arrivals=[1.5, 4.0, 10.0]), Asked("k", 31, 33, arrivals=[0.1, 0.6])], phases)
    assert record.of(MOVING).gaps == [2.5]
    assert record.of(SETTLING).gaps == [6.0]
    assert record.of(QUIET).gaps == pytest.approx([0.5])


def test_each_kind_of_client_is_measured_against_itself() -> None:
    slow = [Asked("slow", 11, 16, arrivals=[0, 4]), Asked("slow", 21, 26, arrivals=[0, 4.1])]
    fast = [Asked("fast", 11, 16, arrivals=[0, 0.1]), Asked("fast", 21, 26, arrivals=[0, 0.5])]
    assert Record([*slow, *fast], PHASES).extra_gap_seconds == pytest.approx(0.4)
    assert Record(slow, PHASES[:1]).extra_gap_seconds is None


def test_only_streams_have_times_in_the_row_of_all() -> None:
    whole = Asked("whole", 11, 16, arrivals=[4.0, 4.5], streamed=False)
    record = Record([whole, Asked("stream", 11, 16, arrivals=[0.1, 0.2])], PHASES)
    assert (record.of(QUIET).first_tokens, record.of(QUIET).requests) == ([0.1], 2)
    assert record.of(QUIET).gaps == pytest.approx([0.1])
    assert record.of(QUIET, kind="whole").first_tokens == [4.0]


def test_what_was_broken_on_purpose_is_counted_by_itself() -> None:
    record = Record([Asked("k", 11, 12), Asked("k", 41, 42, "cut"), Asked("k", 21, 22, "status 500")], PHASES)
    assert (record.of(BROKEN).cut, record.of(*UNHURT).cut, record.of(*UNHURT).failed) == (1, 0, 1)
    assert record.troubles(MOVING) == {"k: status 500": 1}
    assert record.figures()["moving"]["failed"] == 1
    assert record.of(*SORTS).requests == 3
    row = next(line for line in record.table().splitlines() if line.startswith("all but what was broken"))
    assert row.split()[5:11] == ["2", "1", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("The capital of France is Paris.", ""),
        (" The capital of France is Paris.\n", ""),
        ("The capital of is Paris.", "lost"),
        ("", "lost"),
        ("The capital of of France is Paris.", "repeated"),
        ("The of capital France is Paris.", "overtaken"),
        ("The capital of France is Lyon.", "another answer"),
        ("The capital of France is Paris. The capital of France is Paris.", "repeated"),
    ],
)
def test_the_words_of_an_answer_tell_what_happened_to_it(text: str, wrong: str) -> None:
    assert Question("?", "The capital of France is Paris.", 9).wrong(text) == wrong


def test_the_rehearsal_questions_have_answers() -> None:
    assert len(rehearsal()) > 20
    assert all(one.wrong(one.answer) == "" and one.wrong("Yes.") for one in rehearsal())
