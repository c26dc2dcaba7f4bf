"""python -m tests.bench.pace: an engine that speaks vLLM's API at a fixed pace, without a model. Standard library only.

Token N of an answer is the text "N ", so whoever reads it sees a token that was lost, repeated or overtaken. What the
engine does with a request that it took is ``Pace.tokens`` and nothing else: faults and other tempers belong there.
The key comes from the environment (VLLM_API_KEY), as vLLM's does.
"""

import argparse
import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tandem.rehearsal.serving import Reply, Request, serve


class Refused(Exception):
    """The request gets this answer instead of tokens."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Pace:
    """How the engine behaves once it took a request."""

    first_token_seconds: float = 0.05
    token_gap_seconds: float = 0.05

    async def tokens(self, count: int) -> AsyncIterator[int]:
        """The numbers 0 to ``count`` - 1, each at its time after the start: one late token does not delay the next.

        Raises Refused, before the first number only, for an error that the client is to see.
        """
        start = time.monotonic()
        for number in range(count):
            due = start + self.first_token_seconds + number * self.token_gap_seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield number


@dataclass
class Counts:
    """What /metrics tells; numbers since the start."""

    running: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})

    def text(self, model: str) -> str:
        """Prometheus text, with vLLM's names."""
        labels = f'engine="0",model_name="{model}"'
        lines = [
            f"vllm:num_requests_running{{{labels}}} {float(self.running)}",
            f"vllm:num_requests_waiting{{{labels}}} 0.0",
            f"vllm:kv_cache_usage_perc{{{labels}}} 0.0",
            f"vllm:prompt_tokens_total{{{labels}}} {float(self.prompt_tokens)}",
            f"vllm:generation_tokens_total{{{labels}}} {float(self.generation_tokens)}",
        ]
        for reason, number in self.finished.items():
            lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(number)}')
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Asked:
    """One completion as the client wants it."""

    chat: bool
    model: str
    prompt_tokens: int
    tokens: int
    finish: str
    stream: bool
    usage_wanted: bool
    id: str
    created: int

    def usage(self, tokens: int) -> dict[str, int]:
        total = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens, "total_tokens": total}

    def part(self, choices: list[dict[str, Any]], **more: Any) -> str:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return json.dumps({**head, "choices": choices, **more})

    def token(self, number: int) -> str:
        """One token as an event; the first says the role, the last why it is the last."""
        text = f"{number} "
        first = {"role": "assistant"} if number == 0 else {}
        finish = self.finish if number == self.tokens - 1 else None
        content: dict[str, Any] = {"delta": {**first, "content": text}} if self.chat else {"text": text}
        return self.part([{"index": 0, **content, "logprobs": None, "finish_reason": finish}])

    def whole(self, numbers: list[int]) -> dict[str, Any]:
        text = "".join(f"{number} " for number in numbers)
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": self.finish}],
            "usage": self.usage(len(numbers)),
        }


class Engine:
    """The routes of vLLM's server. ``key``: what /v1 asks for; empty: nothing. ``tokens``: where none are asked for."""

    def __init__(self, pace: Pace, *, key: str = "", model: str = "pace", tokens: int = 16) -> None:
        self.pace, self.model, self.counts = pace, model, Counts()
        self._key, self._tokens = key, tokens

    async def handle(self, request: Request, reply: Reply) -> None:
        try:
            await self._route(request, reply)
        except Refused as refused:
            error = {"message": str(refused), "type": refused.kind, "param": None, "code": refused.status}
            await reply.json(refused.status, {"error": error})

    async def _route(self, request: Request, reply: Reply) -> None:
        wrong = self._key and request.headers.get("authorization") != f"Bearer {self._key}"
        if wrong and request.path.startswith("/v1/"):
            raise Refused(401, "AuthenticationError", "Unauthorized")
        match request.method, request.path:
            case "GET", "/health":
                await reply.send(200, b"", "text/plain")
            case "GET", "/metrics":
                await reply.send(200, self.counts.text(self.model).encode(), "text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/v1/models":
                card = {"id": self.model, "object": "model", "created": int(time.time()), "owned_by": "vllm"}
                await reply.json(200, {"object": "list", "data": [{**card, "max_model_len": 131072}]})
            case "POST", "/v1/chat/completions" | "/v1/completions":
                await self._complete(self._asked(request), reply)
            case _:
                raise Refused(404, "NotFoundError", "Not Found")

    def _asked(self, request: Request) -> Asked:
        chat = request.path == "/v1/chat/completions"
        try:
            body = json.loads(request.body)
            prompt = "".join(str(one["content"]) for one in body["messages"]) if chat else str(body["prompt"])
            limit = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
            model = str(body["model"])
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(400, "BadRequestError", f"this request is not understood: {error!r}") from None
        if model != self.model:
            raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.")
        prompt_tokens = max(1, len(prompt.split()))
        name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        return Asked(
            chat=chat,
            model=model,
            prompt_tokens=prompt_tokens,
            tokens=limit or self._tokens,
            finish="length" if limit else "stop",
            stream=bool(body.get("stream")),
            usage_wanted=usage,
            id=name,
            created=int(time.time()),
        )

    async def _complete(self, asked: Asked, reply: Reply) -> None:
        self.counts.running += 1
        self.counts.prompt_tokens += asked.prompt_tokens
        ended = "abort"
        try:
            await (self._stream(asked, reply) if asked.stream else self._answer(asked, reply))
            ended = asked.finish
        finally:
            self.counts.running -= 1
            self.counts.finished[ended] += 1

    async def _answer(self, asked: Asked, reply: Reply) -> None:
        numbers = [number async for number in self._counted(asked)]
        await reply.json(200, asked.whole(numbers))

    async def _stream(self, asked: Asked, reply: Reply) -> None:
        async for number in self._counted(asked):
            await reply.event(asked.token(number))
        if asked.usage_wanted:
            await reply.event(asked.part([], usage=asked.usage(asked.tokens)))
        await reply.event("[DONE]")
        await reply.end_events()

    async def _counted(self, asked: Asked) -> AsyncIterator[int]:
        async for number in self.pace.tokens(asked.tokens):
            self.counts.generation_tokens += 1
            yield number


async def run(engine: Engine, address: str, port: int) -> None:
    server = await serve(engine.handle, port, address)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="An engine at a fixed pace; prints its port as JSON.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="pace")
    parser.add_argument("--tokens", type=int, default=16, help="length of an answer that names none")
    parser.add_argument("--first-token-seconds", type=float, default=Pace.first_token_seconds)
    parser.add_argument("--token-gap-seconds", type=float, default=Pace.token_gap_seconds)
    wanted = parser.parse_args()
    pace = Pace(wanted.first_token_seconds, wanted.token_gap_seconds)
    engine = Engine(pace, key=os.environ.get("VLLM_API_KEY", ""), model=wanted.model, tokens=wanted.tokens)
    asyncio.run(run(engine, wanted.address, wanted.port))


if __name__ == "__main__":
    main()
