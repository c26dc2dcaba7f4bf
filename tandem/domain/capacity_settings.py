"""What a release's engine arguments say about memory. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tandem.domain.capacity_figures import GIB

LARGE_CARD_BYTES: Final = 70 * GIB
"""From here on vLLM's defaults are larger."""
DEFAULT_UTILIZATION: Final = 0.92
DEFAULT_BLOCK_TOKENS: Final = 16
AUTO: Final = -1

_ELEMENT_BYTES: Final = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
_UNCOUNTED: Final = (
    "cpu-offload-gb",
    "decode-context-parallel-size",
    "disable-sliding-window",
    "enable-expert-parallel",
    "enable-lora",
    "enable-sleep-mode",
    "hf-overrides",
    "kv-cache-dtype-skip-layers",
    "kv-transfer-config",
    "num-gpu-blocks-override",
    "performance-mode",
    "quantization",
    "speculative-config",
)
_SCALES: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Arguments = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Settings:
    """The engine arguments that decide about memory, vLLM's defaults filled in."""

    max_model_len: int
    """Tokens; ``AUTO``: as long as fits."""
    max_num_seqs: int
    max_num_batched_tokens: int
    in_flight_tokens: int
    """Tokens that may be scheduled and not yet settled: one batch, two with asynchronous scheduling."""
    utilization: float
    kv_bytes: int
    """Per card; 0: what ``utilization`` leaves."""
    block_tokens: int
    element_bytes: int
    one_kind: bool
    eager: bool
    uncounted: tuple[str, ...]
    """Given options that change memory in ways not computed here."""


def read(arguments: Arguments, longest: int, card_bytes: int, kv_scheme: bool) -> Settings:
    """The settings in ``arguments`` (names without --). ValueError: a sentence that names the option.

    ``longest``: tokens the model was made for; ``card_bytes``: of the smallest card; ``kv_scheme``: config.json decides
    about the KV cache's data type when the arguments do not.
    """
    large = card_bytes >= LARGE_CARD_BYTES
    length = _length(arguments, longest)
    seqs = _number(arguments, "max-num-seqs", 1024 if large else 256)
    usual = 8192 if large else 2048
    if not _switch(arguments, "enable-chunked-prefill", True):
        usual = max(usual, longest if length == AUTO else length)
    batched = _number(arguments, "max-num-batched-tokens", min(usual, seqs * (longest if length == AUTO else length)))
    return Settings(
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=batched,
        in_flight_tokens=batched * (2 if _switch(arguments, "async-scheduling", True) else 1),
        utilization=_utilization(arguments),
        kv_bytes=_number(arguments, "kv-cache-memory-bytes", _number(arguments, "kv-cache-memory", 0)),
        block_tokens=_number(arguments, "block-size", DEFAULT_BLOCK_TOKENS),
        element_bytes=_element_bytes(arguments, kv_scheme),
        one_kind=_switch(arguments, "disable-hybrid-kv-cache-manager", False),
        eager=_switch(arguments, "enforce-eager", False),
        uncounted=tuple(name for name in _UNCOUNTED if arguments.get(name, False) is not False),
    )


def _length(arguments: Arguments, longest: int) -> int:
    given = arguments.get("max-model-len", longest)
    if given in (AUTO, str(AUTO)) or str(given).lower() == "auto":
        return AUTO
    return _number(arguments, "max-model-len", longest)


def _number(arguments: Arguments, name: str, default: int) -> int:
    """A whole number from 1; as vLLM reads them, `32K` is 32,768 and `32k` is 32,000."""
    given = arguments.get(name, default)
    if name not in arguments:
        return default
    found = re.fullmatch(r"(\d+)(\.\d+)?([kmgtKMGT]?)", str(given).strip())
    scale = found[3] if found else ""
    if not found or isinstance(given, bool) or (found[2] and not scale.islower()):
        raise ValueError(f"the option {name} is {given!r}; give a whole number, or one like 32K (32768) or 32k (32000)")
    value = int(float(found[1] + (found[2] or "")) * _SCALES.get(scale, 1))
    if value < 1:
        raise ValueError(f"the option {name} is {given!r}; give a whole number from 1, or leave it out for {default}")
    return value


def _utilization(arguments: Arguments) -> float:
    given = arguments.get("gpu-memory-utilization", DEFAULT_UTILIZATION)
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if isinstance(given, bool) or not 0 < value <= 1:
        raise ValueError(
            f"the option gpu-memory-utilization is {given!r}; give a share above 0 and at most 1, e.g. 0.92"
        )
    return value


def _element_bytes(arguments: Arguments, kv_scheme: bool) -> int:
    given = str(arguments.get("kv-cache-dtype", "auto"))
    if given not in _ELEMENT_BYTES or (given == "auto" and kv_scheme):
        why = "and config.json chooses another one" if kv_scheme else "whose memory cannot be computed here"
        raise ValueError(f"the option kv-cache-dtype is {given!r}, {why}; give one of {', '.join(_ELEMENT_BYTES)}")
    return 4 if given == "auto" and arguments.get("dtype") in ("float32", "float") else _ELEMENT_BYTES[given]


def _switch(arguments: Arguments, name: str, default: bool) -> bool:
    if arguments.get(f"no-{name}") is True:
        return False
    return bool(arguments.get(name, default))
