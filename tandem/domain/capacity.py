"""What fits on the cards, computed before anything is touched. Pure.

Weights and KV cache follow from the model's files and vLLM's own rules; the overhead is assumed, see the constants.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tandem.domain import capacity_model, capacity_settings
from tandem.domain.capacity_figures import (
    CONTEXT_MIB,
    GIB,
    MIB,
    RECREATE,
    REPLICAS,
    SIDE_BY_SIDE,
    TAKE_TURNS,
    TENSOR_PARALLEL,
    TOPOLOGIES,
    Assessment,
)
from tandem.domain.capacity_model import Blocks, Model
from tandem.domain.capacity_settings import AUTO, Arguments, Settings
from tandem.domain.capacity_upgrade import phases, sizes_to_share, strategy

__all__ = [
    "RECREATE",
    "REPLICAS",
    "SIDE_BY_SIDE",
    "TAKE_TURNS",
    "TENSOR_PARALLEL",
    "TOPOLOGIES",
    "Assessment",
    "assess",
    "phases",
    "sizes_to_share",
    "strategy",
    "table",
]

DRIVER_KEEPS_MIB: Final = 400
"""nvidia-smi's total less what CUDA offers: an RTX 4090 has 24,564 MiB there, 23.61 to 23.68 GiB in user reports."""
LIBRARIES_MIB: Final = 450
"""Workspaces, and what weights take beyond their own bytes: fits vLLM 0.26 on an H200 (docs/results, capacity)."""
GRAPHS_MIB: Final = 512
"""CUDA graphs, 0.46 GiB measured; none with enforce-eager."""
NCCL_MIB: Final = 1900
"""With tensor parallel only: buffers between cards and the larger graphs, measured on two H200 cards."""
ACTIVATION_COPIES: Final = 32
"""Assumed: the batch's hidden states (two bytes each) that live at the same time, the experts' included."""
LOGITS_COPIES: Final = 4
"""Assumed: float32 copies of one row of logits per request while a token is chosen."""

_TOUCHED: Final = "nothing was touched"


def assess(
    config: Mapping[str, Any],
    weight_bytes: int,
    arguments: Arguments,
    card_memory_mib: Sequence[int],
    topology: str,
    held_mib: int = 0,
) -> Assessment:
    """What a release needs and gives.

    ``config`` is the model's config.json, ``weight_bytes`` the sum of its tensors, ``arguments`` the engine's options,
    ``card_memory_mib`` each card's total as nvidia-smi shows it, ``held_mib`` what others hold of the fullest card.
    Raises ValueError with a sentence for what cannot be computed; what does not fit is a ``refusal``.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"the topology is {topology!r}; give one of {', '.join(TOPOLOGIES)}")
    if not card_memory_mib:
        raise ValueError(
            f"engine/cards names no card that is there; {_TOUCHED}: give the indexes that nvidia-smi shows"
        )
    cards = len(card_memory_mib) if topology == TENSOR_PARALLEL else 1
    card_bytes = (min(card_memory_mib) - DRIVER_KEEPS_MIB) * MIB
    model = capacity_model.read(config)
    kv_scheme = bool((config.get("quantization_config") or {}).get("kv_cache_scheme"))
    settings = capacity_settings.read(arguments, model.longest, card_bytes, kv_scheme)
    blocks = capacity_model.cut(model, cards, settings.block_tokens, settings.element_bytes, settings.one_kind)
    weights, overhead = model.weights_bytes_per_card(weight_bytes, cards), _overhead_bytes(model, settings, cards)
    kv_bytes = settings.kv_bytes or max(0, int(settings.utilization * card_bytes) - weights - overhead)
    largest = _largest_length(blocks, kv_bytes, settings.in_flight_tokens, model.longest)
    length = max(1, largest) if settings.max_model_len == AUTO else settings.max_model_len
    found = Assessment(
        topology=topology,
        engines=len(card_memory_mib) // cards,
        cards_per_engine=cards,
        card_bytes=card_bytes,
        held_bytes=held_mib * MIB,
        weights_bytes_per_card=weights,
        overhead_bytes_per_card=overhead,
        kv_bytes_per_card=kv_bytes,
        kv_explicit=bool(settings.kv_bytes),
        utilization=settings.utilization,
        kv_bytes_per_token=blocks.bytes_per_token,
        block_tokens=blocks.tokens,
        block_bytes=blocks.bytes,
        blocks=kv_bytes // blocks.bytes,
        blocks_per_request=blocks.per_request(length, settings.in_flight_tokens),
        max_model_len=length,
        largest_model_len=largest,
        max_num_seqs=settings.max_num_seqs,
        uncounted=settings.uncounted,
    )
    room_for_kv = found.room_bytes - found.fixed_bytes_per_card
    possible = _largest_length(blocks, room_for_kv, settings.in_flight_tokens, model.longest)
    found = replace(found, refusal=model.why_not_over(cards) or _refusal(found, model.longest, possible))
    return replace(found, strategy=strategy(found, found))


def _overhead_bytes(model: Model, settings: Settings, cards: int) -> int:
    fixed = CONTEXT_MIB + LIBRARIES_MIB + (0 if settings.eager else GRAPHS_MIB) + (NCCL_MIB if cards > 1 else 0)
    activations = settings.max_num_batched_tokens * model.hidden_size * 2 * ACTIVATION_COPIES
    logits = settings.max_num_seqs * model.vocabulary * 4 * LOGITS_COPIES
    return fixed * MIB + activations + logits


def _largest_length(blocks: Blocks, kv_bytes: int, in_flight: int, longest: int) -> int:
    """The longest conversation that starts with ``kv_bytes``, by bisection. vLLM keeps one block for itself."""
    usable = kv_bytes // blocks.bytes - 1
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if blocks.per_request(middle, in_flight) <= usable else (low, middle - 1)
    return low


def _refusal(found: Assessment, longest: int, possible: int) -> str:
    """Why it cannot start, or "". ``longest``: tokens the model was made for; ``possible``: tokens with all memory."""
    have = f"a card has {_gib(found.room_bytes)}"
    if found.held_bytes:
        have += f" beside the {_gib(found.held_bytes)} that others hold"
    if not possible:
        return (
            f"the model needs {_gib(found.weights_bytes_per_card)} of weights and about "
            f"{_gib(found.overhead_bytes_per_card)} of overhead on each card, and {have}; {_TOUCHED}: "
            "give a smaller model, cards with more memory, or smaller max-num-seqs and max-num-batched-tokens"
        )
    if found.max_model_len > longest:
        return (
            f"max-model-len {found.max_model_len} is more than the {longest} tokens that the model was made for; "
            f"{_TOUCHED}: give at most {longest}"
        )
    highest = math.floor((found.room_bytes - CONTEXT_MIB * MIB) / found.card_bytes * 100) / 100
    if found.utilization > highest:
        return (
            f"gpu-memory-utilization {found.utilization} asks for {_gib(found.utilization * found.card_bytes)} free at "
            f"start, and {have}, of which an engine takes {CONTEXT_MIB} MiB before it looks; {_TOUCHED}: "
            f"give at most {highest:.2f}"
        )
    if found.free_bytes_per_card < 0:
        most = found.room_bytes - found.fixed_bytes_per_card
        return (
            f"kv-cache-memory-bytes {found.kv_bytes_per_card} does not fit: with weights and overhead a card needs "
            f"{_gib(found.need_bytes_per_card)}, and {have}; {_TOUCHED}: give at most {most}"
            + (f" and max-model-len {possible} or less" if possible < found.max_model_len else "")
        )
    if found.kv_bytes_per_card < found.request_bytes:
        return (
            f"one conversation of max-model-len {found.max_model_len} needs {_gib(found.request_bytes)} of KV cache "
            f"per card, and there are {_gib(found.kv_bytes_per_card)}; {_TOUCHED}: "
            f"give {_advice(found, possible, highest)}"
        )
    return ""


def _advice(found: Assessment, possible: int, highest: float) -> str:
    """How to make room for one conversation: a shorter one, or more KV cache where the card has it."""
    ways = [f"max-model-len {found.largest_model_len} or less"] if found.largest_model_len else []
    enough = math.ceil((found.fixed_bytes_per_card + found.request_bytes) / found.card_bytes * 100) / 100
    if found.kv_explicit and possible >= found.max_model_len:
        ways.append(f"kv-cache-memory-bytes {found.request_bytes} or more")
    if not found.kv_explicit and enough <= highest:
        ways.append(f"gpu-memory-utilization {enough:.2f} or more")
    most = (found.room_bytes - found.fixed_bytes_per_card) // MIB * MIB
    return ", or ".join(ways) or f"kv-cache-memory-bytes {most} and max-model-len {possible} or less"


def table(release_name: str, chosen: Assessment, *others: Assessment) -> list[str]:
    """The figures as lines to read, at most 12: one column for the topology of the release, further ones to compare."""
    columns = (chosen, *others)
    rows = [
        (f"capacity of {release_name}", *(one.topology for one in columns)),
        ("engines, cards for each", *(f"{one.engines}, {one.cards_per_engine}" for one in columns)),
        ("on each card: weights", *(_gib(one.weights_bytes_per_card) for one in columns)),
        ("  overhead, assumed", *(_gib(one.overhead_bytes_per_card) for one in columns)),
        ("  KV cache", *(_gib(one.kv_bytes_per_card) for one in columns)),
        ("  left", *(_gib(one.free_bytes_per_card) for one in columns)),
        ("tokens that one engine remembers", *(f"{one.kv_tokens:,}" for one in columns)),
        (f"conversations of {chosen.max_model_len:,} tokens at once", *(_conversations(one) for one in columns)),
        ("way to upgrade", *(one.strategy or "does not fit" for one in columns)),
        ("conversations meanwhile, old + new", *(_meanwhile(one) for one in columns)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns) + 1)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    sizes = sizes_to_share(chosen) if chosen.strategy == RECREATE else None
    if chosen.refusal:
        lines.append(f"refused: {chosen.refusal}")
    elif sizes:
        lines.append(
            f"to upgrade side-by-side: kv-cache-memory-bytes at most {sizes.kv_bytes} and "
            f"gpu-memory-utilization at most {sizes.utilization:.2f}"
        )
    if chosen.uncounted:
        lines.append(f"not counted: {', '.join(chosen.uncounted)}")
    return lines


def _conversations(one: Assessment) -> str:
    return f"{one.conversations:.2f}" if not one.refusal else "-"


def _meanwhile(one: Assessment) -> str:
    """The phases between before and after: `5.90 + 0.00, 5.90 + 5.90`."""
    between = phases(one, one)[1:-1]
    return ", then ".join(f"{phase.old:.2f} + {phase.new:.2f}" for phase in between) or "-"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"
