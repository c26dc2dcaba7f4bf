"""The fixed-pace engine and its page, asked by the clients that ask the real ones."""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
import pytest
from websockets.sync.client import connect as connect_websocket

from tandem.rehearsal.serving import Handler, Reply, Request, serve
from tests.bench.pace import Engine, Pace
from tests.bench.page import SOCKET, Page, paths
from tests.bench.streams import Target, stream, websocket
from tests.unit.nginx_process import Answer, ask, connect, eventually, free_ports

T = TypeVar("T")

KEY = "sk-of-the-engine"
LOOPS: list[asyncio.AbstractEventLoop] = []
"""The loops of the servers that run now."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Beside the server, on its loop: pyinfra's gevent, once imported, makes threads share one running loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, LOOPS[-1]).result(20)


@contextmanager
def served(handler: Handler) -> Iterator[int]:
    """The server on a thread of its own; yields its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve(handler, 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    LOOPS.append(loop)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        LOOPS.remove(loop)
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@dataclass
class Running:
    engine: Engine
    port: int

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=10)

    def ask(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return ask(self.port, path, headers, **more)

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"vllm:{name}{{")).split()[-1])


@pytest.fixture
def running() -> Iterator[Running]:
    engine = Engine(Pace(0.02, 0.02), key=KEY)
    with served(engine.handle) as port:
        yield Running(engine, port)


HELLO: list[Any] = [{"role": "user", "content": "count to five"}]


def test_the_official_client_streams_numbered_tokens_and_the_usage_comes_last(running: Running) -> None:
    with running.client() as client:
        parts = list(
            client.chat.completions.create(
                model="pace",
                messages=HELLO,
                max_tokens=5,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert [part.choices[0].delta.content for part in parts[:-1]] == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert parts[0].choices[0].delta.role == "assistant"
    assert [part.choices[0].finish_reason for part in parts[:-1]] == [None, None, None, None, "length"]
    assert parts[-1].choices == []
    assert parts[-1].usage
    assert (parts[-1].usage.prompt_tokens, parts[-1].usage.completion_tokens) == (3, 5)


def test_usage_is_told_in_a_stream_only_when_it_is_asked_for(running: Running) -> None:
    with running.client() as client:
        parts = list(client.chat.completions.create(model="pace", messages=HELLO, max_tokens=2, stream=True))
    assert [part.usage for part in parts] == [None, None]


def test_the_official_client_gets_whole_answers_and_the_model(running: Running) -> None:
    with running.client() as client:
        assert [model.id for model in client.models.list()] == ["pace"]
        chat = client.chat.completions.create(model="pace", messages=HELLO, max_completion_tokens=3)
        text = client.completions.create(model="pace", prompt="count")
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("0 1 2 ", "length")
    assert text.choices[0].text == "".join(f"{number} " for number in range(16))
    assert text.choices[0].finish_reason == "stop"
    assert text.usage
    assert text.usage.total_tokens == 17


def test_errors_are_those_that_the_official_client_has_names_for(running: Running) -> None:
    with running.client() as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=HELLO)
    with running.client("sk-another-key") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    key = {"Authorization": f"Bearer {KEY}"}
    for body in (b"{", b"[]", b'{"model": "pace"}', b'{"model": "pace", "messages": ["x"]}'):
        answer = running.ask("/v1/chat/completions", key, method="POST", body=body)
        assert (answer.status, json.loads(answer.text)["error"]["type"]) == (400, "BadRequestError")


def test_only_v1_asks_for_the_key(running: Running) -> None:
    assert running.ask("/v1/models").status == running.ask("/v1/other").status == 401
    assert running.ask("/health").status == running.ask("/metrics").status == 200
    assert running.ask("/other").status == 404


def test_no_token_comes_before_its_time_and_each_is_a_chunk_of_its_own() -> None:
    with served(Engine(Pace(0.2, 0.04)).handle) as port:
        seen = run(stream(Target(port, {}), 20))
    assert (seen.wrong, seen.crowded) == ("", 0)
    assert seen.first_token_seconds >= 0.2
    assert seen.first_token_seconds + sum(seen.gaps) >= 0.2 + 19 * 0.04


def test_one_late_token_does_not_delay_the_next() -> None:
    async def slowly() -> float:
        start = time.monotonic()
        async for _ in Pace(0.1, 0.1).tokens(10):
            await asyncio.sleep(0.09)
        return time.monotonic() - start

    # 1.1 s at the tokens' own times; 1.9 s if each waited for the one before.
    with served(Engine(Pace()).handle):
        assert 1.0 <= run(slowly()) < 1.8


@pytest.mark.parametrize("sent", [[0, 1, 1, 2], [0, 2, 1, 3], [0, 1, 3], [0, 1, 2], []])
def test_the_load_client_sees_a_token_that_is_lost_repeated_or_overtaken(sent: list[int]) -> None:
    class Broken(Pace):
        async def tokens(self, count: int) -> Any:
            for number in sent:
                yield number

    with served(Engine(Broken()).handle) as port:
        assert run(stream(Target(port, {}), 4)).wrong


def test_what_runs_and_what_was_made_is_counted_and_a_client_that_leaves_stops_its_answer(running: Running) -> None:
    with running.client() as client:
        client.chat.completions.create(model="pace", messages=HELLO, max_tokens=4)
    assert running.metric("num_requests_running") == 0
    assert running.metric("generation_tokens_total") == 4
    assert running.metric("prompt_tokens_total") == 3
    connection = connect(running.port)
    body = json.dumps({"model": "pace", "messages": HELLO, "stream": True, "max_tokens": 100_000})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    response.readline()
    assert running.metric("num_requests_running") == 1
    response.close()
    connection.close()
    eventually(lambda: running.metric("num_requests_running"), 0.0)
    assert running.engine.counts.finished == {"stop": 0, "length": 1, "abort": 1}


def test_the_page_names_its_files_and_serves_them_all() -> None:
    with served(Page(0.05).handle) as port:
        named = [line.split('src="')[1].split('"')[0] for line in ask(port, "/").text.splitlines()]
        assert (named, len(named)) == (paths(), 200)
        assert {ask(port, path).status for path in named} == {200}
        assert ask(port, "/other").status == 404


def test_the_websocket_ticks_and_sends_back_what_it_is_sent() -> None:
    long = "x" * 70_000
    with served(Page(0.02).handle) as port, connect_websocket(f"ws://127.0.0.1:{port}{SOCKET}") as socket:
        socket.send("a word")
        socket.send("y" * 200)
        received = [str(socket.recv(timeout=5)) for _ in range(10)]
        assert [text for text in received if text.startswith("tick")] == [f"tick {number}" for number in range(8)]
        assert {"a word", "y" * 200} < set(received)
        socket.send(long)
        end = time.monotonic() + 5
        while (text := str(socket.recv(timeout=5))) != long:
            assert time.monotonic() < end, text[:20]


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        (["tick 0", "tick 2"], "'tick 2' came where tick 1"),
        (["tick 0", "tick 0"], "'tick 0' came where tick 1"),
        (["word 0"], "'word 0' came where tick 0"),
        (["tick 0"], "cut after 1 ticks"),
        ([], "cut after 0 ticks"),
    ],
)
def test_the_load_client_sees_a_websocket_that_loses_or_repeats_something(sent: list[str], wrong: str) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        socket = reply.websocket(request)
        for text in sent:
            await socket.send(text)

    with served(handle) as port:
        assert wrong in run(websocket(Target(port, {}), SOCKET, 5))


def test_the_load_client_finds_nothing_wrong_with_the_page_s_websocket() -> None:
    with served(Page(0.01).handle) as port:
        assert run(websocket(Target(port, {}), SOCKET, 0.5)) == ""


def test_a_stream_that_is_cut_or_never_begins_is_seen() -> None:
    async def cut(_: Request, reply: Reply) -> None:
        await reply.event('{"choices": [{"delta": {"content": "0 "}}]}')
        reply.cut()

    with served(cut) as port:
        assert "cut after" in run(stream(Target(port, {}), 1)).wrong
        (closed,) = free_ports(1)
        assert "cut after 0 of 1" in run(stream(Target(closed, {}), 1)).wrong
