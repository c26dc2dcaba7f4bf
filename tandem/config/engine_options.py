"""Which engine options and variables a release may not set, and why."""

import re
from typing import Final

_RESERVED_BY_REASON: Final[dict[str, tuple[str, ...]]] = {
    "Tandem sets it": (
        "disable-fastapi-docs",
        "disable-uvicorn-access-log",
        "enable-auto-tool-choice",
        "host",
        "model",
        "port",
        "served-model-name",
        "shutdown-timeout",
        "tool-call-parser",
    ),
    "Tandem gives keys in a file that other users cannot read": ("api-key", "hf-token"),
    "engine/cards and topology decide it": (
        "data-parallel-size",
        "distributed-executor-backend",
        "headless",
        "nnodes",
        "pipeline-parallel-size",
        "tensor-parallel-size",
    ),
    "it runs code that the release does not pin": (
        "middleware",
        "reasoning-parser-plugin",
        "tool-parser-plugin",
        "tool-server",
        "trust-remote-code",
        "worker-cls",
        "worker-extension-cls",
    ),
    "it reads files that the release does not pin": (
        "allowed-local-media-path",
        "code-revision",
        "config",
        "hf-config-path",
        "lora-modules",
        "revision",
        "tokenizer",
        "tokenizer-revision",
    ),
    "the router speaks plain HTTP to a loopback port": ("root-path", "ssl-certfile", "ssl-keyfile", "uds"),
    "users may then replace the chat template": ("trust-request-chat-template",),
    "prompts and answers must not reach a log": ("enable-log-outputs", "enable-log-requests"),
}
_RESERVED: Final = {option: reason for reason, options in _RESERVED_BY_REASON.items() for option in options}
_OPTIONS_OF_THEIR_OWN: Final = ("reasoning-parser",)
"""Whole options of vLLM that are also the beginning of a reserved one: argparse prefers the exact name."""

_FAMILIES: Final = {
    "data-parallel-": "engine/cards and topology decide it",
    "ssl-": "the router speaks plain HTTP to a loopback port",
}

_VARIABLES: Final = {
    "CUDA_VISIBLE_DEVICES": "engine/cards decides it",
    "NVIDIA_VISIBLE_DEVICES": "engine/cards decides it",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "whoever reaches the engine could then run code in it",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "users could then change what answers",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "answers must not reach a log",
    "VLLM_REQUEST_BODY_LOG_LEVEL": "prompts must not reach a log",
    "VLLM_SERVER_DEV_MODE": "it opens routes that control the engine",
}
_SECRET_WORD: Final = re.compile(r"(KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS?)$")


def looks_secret(name: str) -> bool:
    """Whether a word of ``name`` ends like a secret's: HF_TOKEN, api-key, OPENAI_APIKEY; not TOKENIZERS_PARALLELISM."""
    return any(_SECRET_WORD.search(word) for word in re.split(r"[_-]", name.upper()))


def _why_reserved(option: str) -> str | None:
    """The reason against ``option``, or None. vLLM's argparse takes unique beginnings too: `--hos` is `--host`."""
    if option in _RESERVED:
        return _RESERVED[option]
    for family, reason in _FAMILIES.items():
        if option.startswith(family):
            return reason
    if option in _OPTIONS_OF_THEIR_OWN:
        return None
    meant = next((name for name in _RESERVED if name.startswith(option)), None)
    return f"vLLM may read it as {meant}: {_RESERVED[meant]}" if meant else None


def check_argument(option: str) -> str:
    """Return ``option`` (a long name without --), or raise ValueError with the reason why a release may not set it."""
    reason = _why_reserved(option.removeprefix("no-"))
    if reason:
        raise ValueError(f"a release may not set the option {option} ({reason}); leave it out")
    return option


def check_variable(name: str) -> str:
    """Return ``name``, or raise ValueError with the reason why a release may not set it."""
    reason = _VARIABLES.get(name)
    if reason is None and looks_secret(name):
        reason = "it looks like a secret, and others can read an engine's environment"
    if reason:
        raise ValueError(f"a release may not set the variable {name} ({reason}); leave it out")
    return name
