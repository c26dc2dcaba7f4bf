"""What a model needs by its config.json: bytes of weights per card, and how its KV cache is cut into blocks. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WHOLE: Final = 0
"""The window of a layer that attends to the whole conversation."""

MARLIN_HIDDEN: Final = 256
MARLIN_EXPERT: Final = 128
"""vLLM's Marlin kernel, its choice for MXFP4 on Ada cards, rounds the hidden size and a card's share of an expert up to
multiples of these (`mxfp4_round_up_hidden_size_and_intermediate_size` of vLLM 0.32 and 0.33).
"""
MXFP4_BYTES: Final = 17 / 32
"""Half a byte per weight, and one byte of scale for 32 of them."""

_NOT_UNDERSTOOD: Final = {
    "attention_chunk_size": "chunked attention",
    "global_head_dim": "layers with different heads",
    "is_encoder_decoder": "an encoder",
    "kv_lora_rank": "compressed attention",
    "linear_conv_kernel_dim": "linear attention",
    "mamba_d_state": "state-space layers",
    "num_kv_shared_layers": "layers that share their cache",
    "ssm_state_size": "state-space layers",
    "text_config": "more than text",
}
_KINDS_OF_LAYER: Final = ("full_attention", "sliding_attention")
_SCALED_ALREADY: Final = ("default", "su", "longrope", "llama3", "yarn")
"""Kinds of rotary scaling whose max_position_embeddings is the scaled length (vLLM's rule)."""


@dataclass(frozen=True)
class Model:
    """The figures of a model that memory follows from. ``windows``: tokens that each layer sees, ``WHOLE`` for all."""

    hidden_size: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_size: int
    windows: tuple[int, ...]
    longest: int
    experts: int
    expert_size: int
    mxfp4: bool

    def weights_bytes_per_card(self, weight_bytes: int, cards: int) -> int:
        """``weight_bytes`` as stored, spread over ``cards``, with the padding of MXFP4 experts.

        A KV head that is there once for several cards is on each of them (counted at two bytes a weight).
        """
        spare_heads = max(1, self.kv_heads // cards) - self.kv_heads / cards
        copies = int(len(self.windows) * 2 * self.hidden_size * self.head_size * 2 * spare_heads)
        return _quotient_up(weight_bytes, cards) + copies + (self._padding_bytes(cards) if self.mxfp4 else 0)

    def _padding_bytes(self, cards: int) -> int:
        hidden, share = self.hidden_size, self.expert_size // cards
        padded_hidden, padded_share = _round_up(hidden, MARLIN_HIDDEN), _round_up(share, MARLIN_EXPERT)
        weights = 3 * (padded_hidden * padded_share - hidden * share) * MXFP4_BYTES
        biases = 2 * (2 * (padded_share - share) + padded_hidden - hidden)
        return int(len(self.windows) * self.experts * (weights + biases))

    def why_not_over(self, cards: int) -> str:
        """Why the model cannot be split over ``cards``, or ""."""
        if self.heads % cards or (self.kv_heads % cards and cards % self.kv_heads):
            return f"its {self.heads} heads and {self.kv_heads} KV heads cannot be split over {cards} cards"
        return ""


@dataclass(frozen=True)
class Blocks:
    """How the KV cache of one card is cut: groups of layers share a pool of blocks, each group takes its own."""

    tokens: int
    bytes: int
    windows: tuple[int, ...]
    """The window of each group of layers."""

    @property
    def bytes_per_token(self) -> int:
        """What each further token of a conversation costs on one card, once its windows are full (bytes)."""
        return self.windows.count(WHOLE) * self.bytes // self.tokens

    def per_request(self, length: int, in_flight: int) -> int:
        """Blocks that one conversation of ``length`` tokens holds at most.

        ``in_flight``: tokens scheduled and not yet settled; a window keeps their blocks too, and one more because it
        may begin inside a block.
        """
        return sum(
            _quotient_up(length, self.tokens)
            if window == WHOLE
            else _quotient_up(min(window - 1 + in_flight, length), self.tokens) + 1
            for window in self.windows
        )


def cut(model: Model, cards: int, block_tokens: int, element_bytes: int, one_kind: bool = False) -> Blocks:
    """The blocks of ``model`` on each of ``cards``. ``one_kind``: treat windows as whole when there are both kinds.

    As vLLM groups layers: by window, in groups as large as the rarest kind, or as the most frequent one when they
    differ by less than half. All groups have as many pages per block as the largest.
    """
    windows = model.windows
    if one_kind and WHOLE in windows:
        windows = (WHOLE,) * len(windows)
    layers = {window: windows.count(window) for window in dict.fromkeys(windows)}
    fewest, most = min(layers.values()), max(layers.values())
    size = most if most < 1.5 * fewest else fewest
    groups = {window: _quotient_up(count, size) for window, count in layers.items()}
    pages = max(_quotient_up(layers[window], groups[window]) for window in layers)
    page_bytes = 2 * max(1, model.kv_heads // cards) * model.head_size * element_bytes * block_tokens
    return Blocks(block_tokens, pages * page_bytes, tuple(w for w, count in groups.items() for _ in range(count)))


def read(config: Mapping[str, Any]) -> Model:
    """The model that ``config``, its config.json, describes. ValueError: a sentence says what is not understood."""
    for key, meaning in _NOT_UNDERSTOOD.items():
        if config.get(key):
            raise ValueError(
                f"config.json has {key} ({meaning}), whose memory cannot be computed here; "
                "give a text model with full or sliding-window attention in every layer"
            )
    heads, hidden = _number(config, "num_attention_heads"), _number(config, "hidden_size")
    quantization = config.get("quantization_config") or {}
    mxfp4 = quantization.get("quant_method") == "mxfp4"
    return Model(
        hidden_size=hidden,
        vocabulary=_number(config, "vocab_size"),
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", heads),
        head_size=_number(config, "head_dim", hidden // heads),
        windows=_windows(config, _number(config, "num_hidden_layers")),
        longest=_longest(config),
        experts=_number(config, "num_local_experts") if mxfp4 else 0,
        expert_size=_number(config, "intermediate_size") if mxfp4 else 0,
        mxfp4=mxfp4,
    )


def _windows(config: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return (WHOLE,) * layers
    window = _number(config, "sliding_window")
    if config.get("model_type") == "gpt_oss":  # vLLM alternates whatever layer_types says
        return tuple(WHOLE if layer % 2 else window for layer in range(layers))
    kinds = config.get("layer_types")
    if kinds is None:
        other = next((key for key in ("max_window_layers", "sliding_window_pattern") if config.get(key)), "")
        if other:
            raise ValueError(
                f"config.json has sliding_window with {other} and without layer_types; "
                f"add layer_types, one of {', '.join(_KINDS_OF_LAYER)} for each of the {layers} layers"
            )
        return (window,) * layers
    if len(kinds) != layers or not set(kinds) <= set(_KINDS_OF_LAYER):
        raise ValueError(
            f"config.json has {len(kinds)} layer_types ({', '.join(sorted(map(str, set(kinds))))}) for {layers} "
            f"layers; give one of {', '.join(_KINDS_OF_LAYER)} for each layer"
        )
    return tuple(WHOLE if kind == "full_attention" else window for kind in kinds)


def _longest(config: Mapping[str, Any]) -> int:
    """The longest conversation that the model was made for (tokens)."""
    longest = _number(config, "max_position_embeddings")
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    return longest if kind in _SCALED_ALREADY else int(longest * (scaling.get("factor") or 1))


def _number(config: Mapping[str, Any], key: str, default: int = 0) -> int:
    value = config.get(key)
    if value is None and default:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        said = "has no" if value is None else f"has {value!r} for"
        raise ValueError(
            f"config.json {said} {key}; it must be a whole number from 1, as the model's publisher gives it"
        )
    return value


def _quotient_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _round_up(number: int, multiple: int) -> int:
    return _quotient_up(number, multiple) * multiple
