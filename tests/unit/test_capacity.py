"""What fits is known before anything is touched, and agrees with what vLLM computes."""

import random
import re
from typing import Any

import pytest

from tandem.domain import capacity
from tandem.domain.capacity import REPLICAS, TENSOR_PARALLEL, Assessment
from tests.unit.model_configs import (
    ALL,
    GEMMA_1B,
    GPT_OSS,
    GPT_OSS_25_LAYERS,
    GPT_OSS_WEIGHT_BYTES,
    LLAMA_8B,
    MISTRAL_7B,
    QWEN_7B,
    REHEARSAL,
)

GIB, MIB = 2**30, 2**20
RTX_4090_D_MIB = 24_564
TWO_CARDS = [RTX_4090_D_MIB] * 2
ARGUMENTS: dict[str, Any] = {
    "max-model-len": 32768,
    "gpu-memory-utilization": 0.92,
    "kv-cache-memory-bytes": 5 * GIB,
    "max-num-seqs": 64,
}


def gpt_oss(cards: list[int] = TWO_CARDS, topology: str = REPLICAS, **changed: Any) -> Assessment:
    """gpt-oss-20b with ARGUMENTS, changed; None leaves one out."""
    held = changed.pop("held_mib", 0)
    given = {**ARGUMENTS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    arguments = {name: value for name, value in given.items() if value is not None}
    return capacity.assess(GPT_OSS, GPT_OSS_WEIGHT_BYTES, arguments, cards, topology, held)


def of(config: dict[str, Any], topology: str = REPLICAS, **arguments: Any) -> Assessment:
    """Any model on two cards so large that they never limit."""
    given = {"kv-cache-memory-bytes": 5 * GIB, "max-num-batched-tokens": 2048, "max-model-len": 4096}
    given |= {name.replace("_", "-"): value for name, value in arguments.items()}
    return capacity.assess(config, GIB, given, [2**20] * 2, topology)


# Weights


def test_weights_are_padded_as_the_marlin_kernel_wants_them() -> None:
    assert gpt_oss().weights_bytes_per_card / GIB == pytest.approx(13.67, abs=0.005)
    assert gpt_oss(topology=TENSOR_PARALLEL).weights_bytes_per_card / GIB == pytest.approx(7.06, abs=0.005)


@pytest.mark.parametrize(("topology", "gib"), [(REPLICAS, 12.82), (TENSOR_PARALLEL, 6.41)])
def test_weights_in_other_formats_are_as_stored(topology: str, gib: float) -> None:
    plain = {name: value for name, value in GPT_OSS.items() if name != "quantization_config"}
    found = capacity.assess(plain, GPT_OSS_WEIGHT_BYTES, ARGUMENTS, TWO_CARDS, topology)
    assert found.weights_bytes_per_card / GIB == pytest.approx(gib, abs=0.005)


def test_a_kv_head_that_several_cards_need_is_on_each() -> None:
    whole, split = of(GEMMA_1B).weights_bytes_per_card, of(GEMMA_1B, TENSOR_PARALLEL).weights_bytes_per_card
    assert split - whole // 2 == 26 * 2 * 1152 * 256 * 2 // 2
    assert of(LLAMA_8B, TENSOR_PARALLEL).weights_bytes_per_card == of(LLAMA_8B).weights_bytes_per_card // 2


# KV cache


@pytest.mark.parametrize(
    ("gib", "concurrency"),
    [
        (2, (4.24, 2.36, 1.25, None)),
        (4, (8.47, 4.72, 2.50, 1.29)),
        (5, (10.59, 5.90, 3.13, 1.61)),
        (6, (12.71, 7.08, 3.76, 1.94)),
        (7, (14.83, 8.26, 4.38, 2.26)),
    ],
)
@pytest.mark.parametrize("topology", [REPLICAS, TENSOR_PARALLEL])
def test_concurrency_is_what_vllm_computes(gib: int, concurrency: tuple[float | None, ...], topology: str) -> None:
    """Two cards share one KV cache, so each needs half of it."""
    cards = 2 if topology == TENSOR_PARALLEL else 1
    for length, expected in zip((16384, 32768, 65536, 131072), concurrency, strict=True):
        found = gpt_oss(topology=topology, kv_cache_memory_bytes=gib * GIB // cards, max_model_len=length)
        if expected is None:
            assert found.refusal
        else:
            assert not found.refusal
            assert found.concurrency == pytest.approx(expected, abs=0.005)
            assert found.kv_tokens == int(found.concurrency * length)


def test_a_block_holds_sixteen_tokens_of_twelve_layers() -> None:
    found = gpt_oss()
    assert (found.block_tokens, found.block_bytes, found.kv_bytes_per_token) == (16, 393_216, 24_576)
    assert found.blocks == 5 * GIB // 393_216
    assert gpt_oss(topology=TENSOR_PARALLEL).block_bytes == 393_216 // 2
    assert gpt_oss(kv_cache_dtype="fp8").block_bytes == 393_216 // 2


def test_a_window_keeps_the_batches_in_flight_and_one_block_more() -> None:
    whole = 32768 // 16
    assert gpt_oss().blocks_per_request == whole + (127 + 2 * 2048 + 15) // 16 + 1
    assert gpt_oss(async_scheduling=False).blocks_per_request == whole + (127 + 2048 + 15) // 16 + 1
    assert gpt_oss(no_async_scheduling=True).blocks_per_request == gpt_oss(async_scheduling=False).blocks_per_request
    assert gpt_oss(max_num_batched_tokens=8192).blocks_per_request == whole + (127 + 2 * 8192 + 15) // 16 + 1
    exact = gpt_oss(max_num_batched_tokens=2049, async_scheduling=False)
    assert exact.blocks_per_request == whole + (127 + 2049) // 16 + 1
    assert gpt_oss(max_model_len=100).blocks_per_request == 7 + 7 + 1


def test_figures_of_an_engine_that_runs() -> None:
    """The rehearsal engine (CPU: blocks of 128 tokens, no asynchronous scheduling, 1 GiB) logged 3,273,603 tokens and
    a maximum concurrency of 399.61x for 8,192 tokens.
    """
    found = of(
        REHEARSAL,
        kv_cache_memory_bytes=GIB,
        max_model_len=8192,
        block_size=128,
        async_scheduling=False,
        max_num_seqs=256,
    )
    assert found.kv_tokens == 3_273_603
    assert f"{found.concurrency:.2f}" == "399.61"


def test_without_bytes_the_kv_cache_is_what_the_utilization_leaves() -> None:
    found = gpt_oss(kv_cache_memory_bytes=None, max_num_seqs=None)
    assert found.need_bytes_per_card == pytest.approx(0.92 * found.card_bytes, abs=1)
    assert 5 <= found.kv_bytes_per_card / GIB <= 6, "what is expected of a 24 GB card with vLLM's defaults"
    assert gpt_oss(kv_cache_memory_bytes=None, enforce_eager=True).kv_bytes_per_card > found.kv_bytes_per_card


def test_options_left_out_are_vllm_defaults() -> None:
    options = ("kv_cache_memory_bytes", "gpu_memory_utilization", "max_num_seqs", "max_model_len")
    bare: dict[str, Any] = dict.fromkeys(options)
    given = {
        "gpu_memory_utilization": 0.92,
        "max_num_batched_tokens": 2048,
        "max_num_seqs": 256,
        "max_model_len": 131072,
    }
    assert gpt_oss(**bare) == gpt_oss(**{**bare, **given})
    large = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}
    assert gpt_oss([81_559], **bare) == gpt_oss([81_559], **{**bare, **given, **large})


def test_an_engine_carries_no_more_conversations_than_it_may_answer_at_once() -> None:
    assert gpt_oss(max_num_seqs=3).conversations == 2 * 3
    assert gpt_oss(max_num_seqs=3).concurrency == gpt_oss().concurrency


def test_numbers_may_be_written_as_vllm_reads_them() -> None:
    assert gpt_oss(max_model_len="32K", kv_cache_memory_bytes="5G") == gpt_oss()
    assert gpt_oss(max_model_len="25.6k").max_model_len == 25_600


@pytest.mark.parametrize("auto", [-1, "-1", "auto"])
def test_an_automatic_length_is_the_longest_that_fits(auto: int | str) -> None:
    found = gpt_oss(max_model_len=auto, kv_cache_memory_bytes=2 * GIB)
    assert not found.refusal
    assert found.max_model_len == found.largest_model_len < 131_072
    assert gpt_oss(max_model_len=found.max_model_len + 1, kv_cache_memory_bytes=2 * GIB).refusal


# Other models


@pytest.mark.parametrize(
    ("config", "topology", "bytes_per_token", "block_bytes"),
    [
        (LLAMA_8B, REPLICAS, 2 * 8 * 128 * 2 * 32, 2 * 8 * 128 * 2 * 32 * 16),
        (LLAMA_8B, TENSOR_PARALLEL, 2 * 4 * 128 * 2 * 32, 2 * 4 * 128 * 2 * 32 * 16),
        (QWEN_7B, REPLICAS, 2 * 4 * 128 * 2 * 28, 2 * 4 * 128 * 2 * 28 * 16),
        (MISTRAL_7B, REPLICAS, 0, 2 * 8 * 128 * 2 * 32 * 16),
        # 22 sliding layers in groups of 4, as there are 4 whole ones; the one KV head is on both cards
        (GEMMA_1B, REPLICAS, 2 * 256 * 2 * 4, 2 * 256 * 2 * 4 * 16),
        (GEMMA_1B, TENSOR_PARALLEL, 2 * 256 * 2 * 4, 2 * 256 * 2 * 4 * 16),
        # 13 sliding and 12 whole layers: one group each, as large as the larger
        (GPT_OSS_25_LAYERS, REPLICAS, 2 * 8 * 64 * 2 * 13, 2 * 8 * 64 * 2 * 13 * 16),
    ],
)
def test_layers_are_grouped_as_vllm_groups_them(
    config: dict[str, Any], topology: str, bytes_per_token: int, block_bytes: int
) -> None:
    found = of(config, topology)
    assert (found.kv_bytes_per_token, found.block_bytes) == (bytes_per_token, block_bytes)


def test_windows_are_whole_layers_when_the_hybrid_manager_is_off() -> None:
    assert of(GPT_OSS, disable_hybrid_kv_cache_manager=True).kv_bytes_per_token == 2 * 8 * 64 * 2 * 24


def test_a_model_with_windows_only_needs_no_more_for_longer_conversations() -> None:
    assert (
        of(MISTRAL_7B, max_model_len=16384).blocks_per_request == of(MISTRAL_7B, max_model_len=32768).blocks_per_request
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kv_lora_rank": 512}, "config.json has kv_lora_rank (compressed attention)"),
        ({"num_hidden_layers": None}, "config.json has no num_hidden_layers"),
        ({"hidden_size": "big"}, "config.json has 'big' for hidden_size"),
        ({"model_type": "new", "layer_types": ["linear_attention"] * 24}, "24 layer_types (linear_attention)"),
        ({"model_type": "new", "layer_types": ["full_attention"]}, "1 layer_types (full_attention) for 24 layers"),
        ({"model_type": "new", "layer_types": None, "max_window_layers": 3}, "sliding_window with max_window_layers"),
        ({"quantization_config": {"kv_cache_scheme": {"num_bits": 8}}}, "config.json chooses another one"),
    ],
)
def test_what_is_not_understood_in_a_model_is_said(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        capacity.assess({**GPT_OSS, **changed}, GPT_OSS_WEIGHT_BYTES, ARGUMENTS, TWO_CARDS, REPLICAS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kv-cache-dtype": "nvfp4"}, "the option kv-cache-dtype is 'nvfp4'"),
        ({"max-model-len": "long"}, "the option max-model-len is 'long'; give a whole number"),
        ({"max-model-len": "1.5K"}, "the option max-model-len is '1.5K'"),
        ({"max-num-seqs": 0}, "the option max-num-seqs is 0"),
        ({"max-num-seqs": True}, "the option max-num-seqs is True"),
        ({"gpu-memory-utilization": 92}, "the option gpu-memory-utilization is 92; give a share above 0 and at most 1"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        capacity.assess(GPT_OSS, GPT_OSS_WEIGHT_BYTES, {**ARGUMENTS, **changed}, TWO_CARDS, REPLICAS)


def test_unknown_topologies_and_missing_cards_are_named() -> None:
    with pytest.raises(ValueError, match="the topology is 'ring'"):
        gpt_oss(topology="ring")
    with pytest.raises(ValueError, match="engine/cards names no card that is there"):
        gpt_oss(cards=[])


def test_options_whose_memory_is_not_counted_are_listed() -> None:
    assert gpt_oss(cpu_offload_gb=4, enable_lora=False).uncounted == ("cpu-offload-gb",)


# Refusals


@pytest.mark.parametrize(
    ("cards", "changed", "words"),
    [
        (
            TWO_CARDS,
            {"kv_cache_memory_bytes": 2 * GIB, "max_model_len": 131072},
            "one conversation of max-model-len 131072 needs 3.10 GiB of KV cache per card, and there are 2.00 GiB",
        ),
        (TWO_CARDS, {"kv_cache_memory_bytes": 9 * GIB}, "kv-cache-memory-bytes 9663676416 does not fit"),
        (TWO_CARDS, {"gpu_memory_utilization": 0.99}, "gpu-memory-utilization 0.99 asks for 23.36 GiB free at start"),
        (TWO_CARDS, {"max_model_len": 200_000}, "more than the 131072 tokens that the model was made for"),
        (TWO_CARDS, {"kv_cache_memory_bytes": None, "gpu_memory_utilization": 0.6}, "and there are 0.00 GiB"),
        (TWO_CARDS, {"held_mib": 3000}, "a card has 20.67 GiB beside the 2.93 GiB that others hold"),
        (
            [12_288],
            {},
            "the model needs 13.67 GiB of weights and about 1.94 GiB of overhead on each card, and a card has",
        ),
        ([RTX_4090_D_MIB, 16_376], {}, "and a card has 15.60 GiB"),
    ],
)
def test_what_cannot_start_is_refused_with_the_numbers(cards: list[int], changed: dict[str, Any], words: str) -> None:
    found = gpt_oss(cards, **changed)
    assert words in found.refusal
    assert "; nothing was touched: give " in found.refusal
    assert found.strategy == ""


def test_heads_that_cannot_be_split_are_refused() -> None:
    found = capacity.assess(QWEN_7B, 15 * GIB, {"max-model-len": 4096}, [RTX_4090_D_MIB] * 3, TENSOR_PARALLEL)
    assert "28 heads and 4 KV heads cannot be split over 3 cards" in found.refusal


OPTION = re.compile(r"(max-model-len|kv-cache-memory-bytes|gpu-memory-utilization) ([\d.]+) or (?:more|less)")
MOST = re.compile(r"give at most ([\d.]+)")


@pytest.mark.parametrize(
    "changed",
    [
        {"kv_cache_memory_bytes": 2 * GIB, "max_model_len": 131072},
        {"kv_cache_memory_bytes": 100 * MIB},
        {"kv_cache_memory_bytes": None, "gpu_memory_utilization": 0.66},
        {"kv_cache_memory_bytes": None, "gpu_memory_utilization": 0.75, "max_model_len": 131072},
    ],
)
def test_each_way_out_of_a_refusal_leads_out(changed: dict[str, Any]) -> None:
    ways = OPTION.findall(gpt_oss(**changed).refusal)
    assert ways
    for option, value in ways:
        number = float(value) if "." in value else int(value)
        assert gpt_oss(**{**changed, option.replace("-", "_"): number}).refusal == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [("kv_cache_memory_bytes", 9 * GIB), ("gpu_memory_utilization", 0.99), ("max_model_len", 200_000)],
)
def test_the_most_that_a_refusal_names_fits_and_more_does_not(option: str, value: float) -> None:
    def refusal(value: float) -> str:
        changed: dict[str, Any] = {option: value}
        return gpt_oss(**changed).refusal

    said = MOST.search(refusal(value))
    assert said
    most = float(said[1]) if "." in said[1] else int(said[1])
    assert refusal(most) == ""
    assert refusal(most + (0.01 if isinstance(most, float) else 1))


# Upgrades


def test_replicas_that_fill_their_cards_take_turns() -> None:
    found = gpt_oss()
    assert found.strategy == capacity.TAKE_TURNS
    one = pytest.approx(5.90, abs=0.005)
    assert [(phase.name, phase.old, phase.new) for phase in capacity.phases(found, found)] == [
        ("before", pytest.approx(11.81, abs=0.005), 0),
        ("one card changes", one, 0),
        ("both serve", one, one),
        ("after", 0, pytest.approx(11.81, abs=0.005)),
    ]


@pytest.mark.parametrize(("cards", "topology"), [([RTX_4090_D_MIB], REPLICAS), (TWO_CARDS, TENSOR_PARALLEL)])
def test_what_fills_all_cards_is_recreated_and_serves_nothing_meanwhile(cards: list[int], topology: str) -> None:
    found = gpt_oss(cards, topology)
    assert found.strategy == capacity.RECREATE
    assert (capacity.phases(found, found)[1].old, capacity.phases(found, found)[1].new) == (0, 0)


def test_two_slots_share_the_cards_when_both_fit_and_find_their_share_free() -> None:
    small: dict[str, Any] = {"topology": TENSOR_PARALLEL, "kv_cache_memory_bytes": 900 * MIB, "max_model_len": 16_384}
    found = gpt_oss(gpu_memory_utilization=0.45, **small)
    assert found.strategy == capacity.SIDE_BY_SIDE
    assert capacity.phases(found, found)[1].old == capacity.phases(found, found)[1].new == found.conversations
    assert gpt_oss(gpu_memory_utilization=0.92, **small).strategy == capacity.RECREATE, (
        "the second finds too little free"
    )
    assert gpt_oss(gpu_memory_utilization=0.45, topology=TENSOR_PARALLEL).strategy == capacity.RECREATE, "5 GiB twice"


def test_a_size_that_is_measured_at_start_is_never_side_by_side() -> None:
    large = [140_000]
    assert gpt_oss(large, gpu_memory_utilization=0.3).strategy == capacity.SIDE_BY_SIDE
    assert gpt_oss(large, gpu_memory_utilization=0.3, kv_cache_memory_bytes=None).strategy == capacity.RECREATE


def test_the_sizes_to_share_lead_to_side_by_side_and_larger_ones_do_not() -> None:
    sizes = capacity.sizes_to_share(gpt_oss(topology=TENSOR_PARALLEL))
    assert sizes
    assert 0.8 <= sizes.kv_bytes / GIB <= 1

    def strategy(kv_bytes: int, utilization: float) -> str:
        return gpt_oss(
            topology=TENSOR_PARALLEL, kv_cache_memory_bytes=kv_bytes, gpu_memory_utilization=utilization
        ).strategy

    assert strategy(sizes.kv_bytes, sizes.utilization) == capacity.SIDE_BY_SIDE
    assert strategy(sizes.kv_bytes + 2 * MIB, sizes.utilization) == capacity.RECREATE
    assert strategy(sizes.kv_bytes, sizes.utilization + 0.01) == capacity.RECREATE
    assert capacity.sizes_to_share(gpt_oss()) is None, "two whole models do not fit one card"


def test_an_upgrade_between_unequal_releases_is_judged_by_both() -> None:
    replicas, parallel = gpt_oss(), gpt_oss(topology=TENSOR_PARALLEL)
    assert capacity.strategy(replicas, gpt_oss(kv_cache_memory_bytes=2 * GIB)) == capacity.TAKE_TURNS
    assert capacity.strategy(replicas, parallel) == capacity.RECREATE
    assert capacity.strategy(replicas, gpt_oss(max_model_len=200_000)) == ""
    assert capacity.phases(replicas, gpt_oss(max_model_len=200_000)) == ()


# Properties


def drawn(seed: int) -> tuple[dict[str, Any], dict[str, Any], str]:
    """A model and settings, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  repeatable, not secret
    arguments = {
        "max-model-len": chance.randrange(1, 32768),
        "kv-cache-memory-bytes": chance.randrange(1, 12 * GIB),
        "max-num-batched-tokens": chance.choice([512, 2048, 8192]),
        "max-num-seqs": chance.choice([8, 64, 256]),
        "block-size": chance.choice([16, 32, 64]),
    }
    return chance.choice(list(ALL.values())), arguments, chance.choice([REPLICAS, TENSOR_PARALLEL])


@pytest.mark.parametrize("seed", range(60))
def test_more_is_never_less(seed: int) -> None:
    config, arguments, topology = drawn(seed)

    def assess(card_mib: int = 10**6, **more: int) -> Assessment:
        changed = {name.replace("_", "-"): arguments[name.replace("_", "-")] + extra for name, extra in more.items()}
        return capacity.assess(config, 2 * GIB, {**arguments, **changed}, [card_mib] * 2, topology)

    base = assess()
    richer, longer = assess(kv_cache_memory_bytes=seed * MIB), assess(max_model_len=seed)
    assert richer.kv_tokens >= base.kv_tokens
    assert richer.largest_model_len >= base.largest_model_len
    assert longer.concurrency <= base.concurrency
    assert longer.blocks_per_request >= base.blocks_per_request
    assert assess(max_num_batched_tokens=seed).concurrency <= base.concurrency
    assert assess(max_num_seqs=seed).overhead_bytes_per_card >= base.overhead_bytes_per_card
    starts = [assess(card_mib).refusal == "" for card_mib in range(4_000, 40_000, 4_000)]
    assert starts == sorted(starts), "a larger card never refuses what a smaller one takes"


@pytest.mark.parametrize("seed", range(60))
def test_the_longest_conversation_is_the_longest(seed: int) -> None:
    config, arguments, topology = drawn(seed)
    found = capacity.assess(config, GIB, arguments, [10**6] * 2, topology)

    def starts(length: int) -> bool:
        return not capacity.assess(config, GIB, {**arguments, "max-model-len": length}, [10**6] * 2, topology).refusal

    assert found.largest_model_len == 0 or starts(found.largest_model_len)
    assert not starts(found.largest_model_len + 1)


# The table of the plan


def test_the_table_says_what_an_operator_asks() -> None:
    chosen, other = gpt_oss(), gpt_oss(topology=TENSOR_PARALLEL)
    lines = capacity.table("2026.11", chosen, other)
    text = "\n".join(lines)
    assert len({len(line) for line in lines}) == 1, "columns line up"
    for words in ("capacity of 2026.11", "13.67 GiB", "7.06 GiB", "193,420", "32,768", "11.81", "take-turns"):
        assert words in text
    assert "5.90 + 0.00, then 5.90 + 5.90" in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_model_len": 200_000}, "refused: max-model-len 200000 is more than"),
        ({"cards": [RTX_4090_D_MIB], "cpu_offload_gb": 4}, "not counted: cpu-offload-gb"),
        ({"topology": TENSOR_PARALLEL}, "to upgrade side-by-side: kv-cache-memory-bytes at most 1010827264"),
    ],
)
def test_the_table_is_short_and_says_what_is_amiss(changed: dict[str, Any], words: str) -> None:
    lines = capacity.table("2026.11", gpt_oss(**changed), gpt_oss())
    assert any(line.startswith(words) for line in lines)
    assert len(lines) <= 12


def test_what_a_real_card_had_left_for_the_cache_is_foretold() -> None:
    """vLLM 0.26 on an H200 limited to 21.61 GiB found 6.0 GiB and 7.08 conversations: docs/results, capacity."""
    found = gpt_oss([RTX_4090_D_MIB], kv_cache_memory_bytes=None, gpu_memory_utilization=0.9158)
    assert found.kv_bytes_per_card / GIB == pytest.approx(6.0, abs=0.05)
    assert found.concurrency == pytest.approx(7.08, abs=0.05)
