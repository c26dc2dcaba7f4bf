"""What config.json says about attention in models of several kinds, as their publishers give it."""

from typing import Any

YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 4096,
    "truncate": False,
}

GPT_OSS_WEIGHT_BYTES = 13_761_264_768
GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 24,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131_072,
    "rope_scaling": YARN,
    "vocab_size": 201_088,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "mxfp4"},
}
GPT_OSS_25_LAYERS = {**GPT_OSS, "num_hidden_layers": 25, "layer_types": [*GPT_OSS["layer_types"], "sliding_attention"]}
"""13 sliding and 12 full layers: groups of unequal size."""
_OUTSIDE_LAYERS = 2 * (2 * 201_088 * 2880 + 2880)
WEIGHT_BYTES = {
    "gpt-oss-20b": GPT_OSS_WEIGHT_BYTES,
    "gpt-oss of 25 layers": GPT_OSS_WEIGHT_BYTES + (GPT_OSS_WEIGHT_BYTES - _OUTSIDE_LAYERS) // 24,
}
"""As stored, where an engine holds more."""

REHEARSAL: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 131_072,
    "rope_parameters": {**YARN, "rope_theta": 150_000.0},
    "vocab_size": 201_088,
}

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "vocab_size": 128_256,
}
MISTRAL_7B: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "max_position_embeddings": 32_768,
    "vocab_size": 32_000,
}
"""Every layer has the same window."""

QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_hidden_layers": 28,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131_072,
    "use_sliding_window": False,
    "max_window_layers": 28,
    "max_position_embeddings": 32_768,
    "vocab_size": 152_064,
}
"""A window that is given and not used."""

GEMMA_1B: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "num_hidden_layers": 26,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "sliding_window": 512,
    "layer_types": ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(26)],
    "max_position_embeddings": 32_768,
    "vocab_size": 262_144,
}
"""22 sliding and 4 full layers, and one KV head, which every card of a tensor-parallel engine holds."""

ALL = {
    "gpt-oss-20b": GPT_OSS,
    "gpt-oss of 25 layers": GPT_OSS_25_LAYERS,
    "rehearsal model": REHEARSAL,
    "Llama 3.1 8B": LLAMA_8B,
    "Mistral 7B v0.1": MISTRAL_7B,
    "Qwen2.5 7B": QWEN_7B,
    "Gemma 3 1B": GEMMA_1B,
}
