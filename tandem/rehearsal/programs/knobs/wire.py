"""The shapes in which vLLM's API says things. Standard library only."""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tandem.rehearsal.programs.knobs.answers import Said
from tandem.rehearsal.programs.knobs.settings import Knobs


@dataclass(frozen=True)
class Shape:
    """One answer's: of the chat API or of the older one for texts."""

    chat: bool
    model: str
    prompt_tokens: int
    finish: str
    knobs: Knobs
    usage_wanted: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def usage(self, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def begin(self) -> str:
        """The event that says the role."""
        return self._chunk({"role": self._role, "content": ""})

    def text(self, piece: str) -> str:
        return self._chunk({"content": piece})

    def call(self, said: Said) -> list[str]:
        """The events of a tool call: its name, then its arguments in two pieces."""
        if said.call is None:
            return []
        arguments = said.call.arguments
        head = {"id": f"call_{self.id[:16]}", "type": "function", "function": {"name": said.call.name, "arguments": ""}}
        pieces = [arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]]
        calls: list[dict[str, Any]] = [head, *({"function": {"arguments": piece}} for piece in pieces)]
        return [self._chunk({"tool_calls": [{"index": 0, **one}]}) for one in calls]

    def end(self) -> str:
        """The event that says why it ended."""
        return self._chunk({"content": ""}, self._finish)

    def total(self, tokens: int) -> str:
        """The event with the usage, after the last choice."""
        return json.dumps({**self._head("chunk"), "choices": [], "usage": self.usage(tokens)})

    def whole(self, said: Said) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        calls = []
        if said.call:
            function = {"name": said.call.name, "arguments": said.call.arguments}
            calls = [{"id": f"call_{self.id[:16]}", "type": "function", "function": function}]
        message = {"role": self._role, "content": None if calls else said.text, "tool_calls": calls}
        content: dict[str, Any] = {"message": message} if self.chat else {"text": said.text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": self._finish, **self._more}
        return {**self._head(""), "choices": [choice], "usage": self.usage(len(said.tokens))}

    @property
    def _role(self) -> str:
        return "user" if self.knobs.other_role else "assistant"

    @property
    def _finish(self) -> str:
        return "length" if self.knobs.other_finish else self.finish

    @property
    def _more(self) -> dict[str, Any]:
        return {"stop_reason": None, "token_ids": None, "of_tomorrow": [1]} if self.knobs.more_fields else {}

    def _head(self, chunk: str) -> dict[str, Any]:
        kind = f"chat.completion{'.' if chunk else ''}{chunk}" if self.chat else "text_completion"
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}"
        model = f"{self.model}-next" if self.knobs.other_model else self.model
        return {"id": name, "object": kind, "created": self.created, "model": model, **self._more}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        if self.knobs.role_everywhere:
            delta = {"role": self._role, **delta}
        content: dict[str, Any] = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish, **self._more}
        return json.dumps({**self._head("chunk"), "choices": [choice]})


@dataclass
class Counts:
    """What /metrics tells; numbers since the start."""

    running: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    requests: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By route, method and class of the status."""

    def asked(self, route: str, method: str, status: int) -> None:
        key = (route, method, f"{status // 100}xx")
        self.requests[key] = self.requests.get(key, 0) + 1

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
        for (route, method, status), number in self.requests.items():
            lines.append(
                f'http_requests_total{{handler="{route}",method="{method}",status="{status}"}} {float(number)}'
            )
        return "".join(f"{line}\n" for line in lines)
