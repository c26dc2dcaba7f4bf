"""A small engine over real HTTP for tests of the prober: it answers from a table, in whatever way a test wants."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MODEL: Final = "gpt-oss-20b"
KEY: Final = "k" * 64
DEFAULT: Final = "I do not know."


@dataclass
class Temper:
    """``answers``: by question. ``event_words``: so many come at once, after the first. ``counts``: the tokens that it
    says an answer had when it is asked for them, None: its words, 0: it says nothing. ``ending``: how a stream ends:
    whole, cut, hang, garbage, error or drip (one byte at a time, for ever). ``before``: called with each question.
    ``asked`` keeps the bodies, ``open`` counts requests now.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    status: int = 200
    ending: str = "whole"
    first_token_seconds: float = 0.0
    gap_seconds: float = 0.0
    event_words: int = 1
    counts: int | None = None
    ready: bool = True
    context: int = 131072
    running: int = 0
    waiting: int = 0
    before: Callable[[str], None] = lambda question: None
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]


@contextmanager
def engine(temper: Temper) -> Iterator[int]:
    """Serve on a free loopback port; yields the port."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One write for each event, at once.
        wbufsize = 0

        def do_GET(self) -> None:
            if self.path == "/metrics":
                counts = {"running": temper.running, "waiting": temper.waiting}
                lines = [f'vllm:num_requests_{name}{{engine="0"}} {float(n)}\n' for name, n in counts.items()]
                self._send(200, "".join(lines).encode())
            elif not temper.ready:
                self._send(503, b'{"error": "loading"}')
            elif self.headers.get("Authorization") != f"Bearer {KEY}":
                self._send(401, b"")
            else:
                card = {"id": MODEL, "object": "model", "max_model_len": temper.context}
                self._send(200, json.dumps({"object": "list", "data": [card]}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            temper.asked.append(body)
            question = body["messages"][-1]["content"]
            temper.before(question)
            if temper.ending == "no head":
                self.close_connection = True
                return
            if temper.ending == "no answer":
                stopped.wait()
                self.close_connection = True
                return
            if body.get("max_tokens", 1) < 1 or temper.status != 200:
                status = 400 if temper.status == 200 else temper.status
                self._send(status, json.dumps({"error": {"message": "no", "type": "BadRequestError"}}).encode())
                return
            text, model = temper.answers.get(question, DEFAULT), temper.model or body["model"]
            if body.get("stream"):
                self._stream(text, model, bool(body.get("stream_options", {}).get("include_usage")))
            else:
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                whole = {"id": "c-1", "object": "chat.completion", "model": model, "choices": [choice]}
                time.sleep(temper.first_token_seconds)
                self._send(200, json.dumps(whole).encode(), cut=temper.ending == "cut")

        def _stream(self, text: str, model: str, counted: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._event(model, {"role": "assistant", "content": ""})
            time.sleep(temper.first_token_seconds)
            words, piece = text.split(" "), ""
            for number, word in enumerate(words):
                time.sleep(temper.gap_seconds if number else 0)
                piece += f" {word}" if number else word
                if number % temper.event_words == 0 or number + 1 == len(words):
                    self._event(model, {"content": piece})
                    piece = ""
            if temper.ending == "hang":
                stopped.wait()
            if temper.ending == "drip":
                while not stopped.wait(0.02):
                    self._chunk(b":")
            if temper.ending in ("hang", "drip", "cut"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if temper.ending == "garbage":
                self._chunk(b"data: {half a thing\n\n")
            if temper.ending == "error":
                self._chunk(b'data: {"error": {"message": "no", "type": "InternalServerError", "code": 500}}\n\n')
            self._event(model, {}, "stop")
            tokens = len(words) if temper.counts is None else temper.counts
            if counted and tokens:
                self._usage(model, tokens)
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

        def _event(self, model: str, delta: dict[str, Any], finish: str | None = None) -> None:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            found = {"id": "c-1", "object": "chat.completion.chunk", "model": model, "choices": choices}
            self._chunk(f"data: {json.dumps(found)}\n\n".encode())

        def _usage(self, model: str, tokens: int) -> None:
            usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}
            found = {"id": "c-1", "object": "chat.completion.chunk", "model": model, "choices": [], "usage": usage}
            self._chunk(f"data: {json.dumps(found)}\n\n".encode())

        def _chunk(self, data: bytes) -> None:
            try:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            except OSError:
                self.close_connection = True

        def _send(self, status: int, body: bytes, cut: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + cut))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
