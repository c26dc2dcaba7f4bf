"""What vLLM itself computes. Runs inside the engine image: python3 capacity_by_vllm.py CASES.json CARDS

Builds each model of CASES on torch's meta device (shapes without memory) as rank 0 of CARDS, and asks vLLM's own
functions for weights and KV cache. One JSON line per case. Three things are told to it, as there is no card here: the
Marlin kernel for MXFP4, attention blocks in multiples of 16 tokens, and process groups that reach nobody.
"""

import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch  # type: ignore[import-not-found,unused-ignore]
import torch.distributed as groups  # type: ignore[import-not-found,unused-ignore]
from torch.testing._internal.distributed.fake_pg import FakeStore  # type: ignore[import-not-found,unused-ignore]
from vllm.config import (  # type: ignore[import-not-found,unused-ignore]
    get_layers_from_vllm_config,
    set_current_vllm_config,
)
from vllm.distributed import parallel_state  # type: ignore[import-not-found,unused-ignore]
from vllm.distributed.device_communicators.cpu_communicator import (  # type: ignore[import-not-found,unused-ignore]
    CpuCommunicator,
)
from vllm.distributed.device_communicators.shm_broadcast import (  # type: ignore[import-not-found,unused-ignore]
    MessageQueue,
)
from vllm.engine.arg_utils import EngineArgs  # type: ignore[import-not-found,unused-ignore]
from vllm.model_executor.layers.attention_layer_base import (  # type: ignore[import-not-found,unused-ignore]
    AttentionLayerBase,
)
from vllm.model_executor.layers.fused_moe.oracle.mxfp4 import (  # type: ignore[import-not-found,unused-ignore]
    Mxfp4MoeBackend,
    backend_to_kernel_cls,
)
from vllm.model_executor.layers.quantization import mxfp4  # type: ignore[import-not-found,unused-ignore]
from vllm.model_executor.model_loader.utils import (  # type: ignore[import-not-found,unused-ignore]
    initialize_model,
)
from vllm.v1.attention.backend import MultipleOf  # type: ignore[import-not-found,unused-ignore]
from vllm.v1.attention.backends.cpu_attn import (  # type: ignore[import-not-found,unused-ignore]
    CPUAttentionBackend,
)
from vllm.v1.core import kv_cache_utils  # type: ignore[import-not-found,unused-ignore]


def pretend(cards: int) -> None:
    """As on an Ada card, and with ``cards`` - 1 peers that never answer."""
    marlin = Mxfp4MoeBackend.MARLIN
    mxfp4.select_mxfp4_moe_backend = lambda moe: (marlin, backend_to_kernel_cls(marlin)[0])
    CPUAttentionBackend.get_supported_kernel_block_sizes = staticmethod(lambda spec=None: [MultipleOf(16)])
    MessageQueue.create_from_process_group = lambda *group, **options: None
    CpuCommunicator._all_group_ranks_share_shm_group_name = lambda self: False
    groups.init_process_group("fake", store=FakeStore(), rank=0, world_size=cards)
    new_group = groups.new_group
    groups.new_group = lambda ranks=None, *rest, **options: new_group(ranks, backend="fake")


def model_of(config: dict[str, Any], cards: int) -> tuple[Any, dict[str, Any], int]:
    """vLLM's configuration, the KV cache specification of each layer, and the bytes of all weights on one card."""
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        vllm = EngineArgs(
            model=folder,
            skip_tokenizer_init=True,
            load_format="dummy",
            dtype="bfloat16",
            enforce_eager=True,
            max_model_len=1024,
            tensor_parallel_size=cards,
        ).create_engine_config()
    vllm.cache_config.kv_cache_layout = "LBHNC"
    torch.set_default_dtype(torch.bfloat16)
    with set_current_vllm_config(vllm):
        if not parallel_state.model_parallel_is_initialized():
            parallel_state.init_distributed_environment(cards, 0, "unused", 0, "gloo")
            parallel_state.initialize_model_parallel(cards)
        with torch.device("meta"):
            model = initialize_model(vllm)
    layers = get_layers_from_vllm_config(vllm, AttentionLayerBase)
    weights = sum(one.numel() * one.element_size() for one in {id(p): p for p in model.parameters()}.values())
    return vllm, layers, weights


def answer(vllm: Any, layers: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    vllm.model_config.max_model_len = vllm.model_config.original_max_model_len = case["max_model_len"]
    vllm.cache_config.block_size = case["block_tokens"]
    vllm.scheduler_config.max_num_batched_tokens = case["batched"]
    vllm.scheduler_config.async_scheduling = case["async"]
    vllm.scheduler_config.disable_hybrid_kv_cache_manager = case["one_kind"]
    specs = {name: layer.get_kv_cache_spec(vllm) for name, layer in layers.items()}
    try:
        found = kv_cache_utils.get_kv_cache_configs(vllm, [specs], [case["kv_bytes"]])[0]
    except ValueError as error:
        longest = re.search(r"estimated maximum model length is (\d+)", str(error))
        return {"starts": False, "largest": int(longest[1]) if longest else 0}
    tokens, concurrency = kv_cache_utils.get_kv_cache_capacity(vllm, found)
    return {"starts": True, "blocks": found.num_blocks, "tokens": tokens, "concurrency": concurrency}


def main(cases_file: str, cards: int) -> None:
    pretend(cards)
    for name, wanted in json.loads(Path(cases_file).read_text()).items():
        vllm, layers, weights = model_of(wanted["config"], cards)
        for case in wanted["cases"]:
            print("FOUND " + json.dumps({"model": name, "weights": weights, **answer(vllm, layers, case)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
    os._exit(0)  # an ordinary end waits for the peers that are not there
