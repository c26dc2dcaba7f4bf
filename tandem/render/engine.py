"""The engines of one slot: one Quadlet unit per card."""

import shlex
from typing import Final

from tandem.config import Config
from tandem.config.release import Argument
from tandem.domain.runmode import RUN_MODE, device
from tandem.domain.slots import engine_port, engine_unit
from tandem.render.gpu import CDI_UNIT
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

QUADLETS: Final = "/etc/containers/systemd"
ENVIRONMENT: Final = {
    # A cache inside the container: what one start compiles is gone with it, and nothing outside can plant code in it.
    "HOME": "/tmp",  # noqa: S108 - the container's own tmpfs
    "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Engine processes of one instance find each other on loopback; the unit's IP filter drops all else.
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOOPBACK_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}


def engine_path(slot: str, card: int) -> str:
    return f"{QUADLETS}/{engine_unit(slot, card)}.container"


def engine_environment(config: Config) -> dict[str, str]:
    """The variables of an engine's container. No secret: the API key comes by environment file."""
    return {**ENVIRONMENT, **config.wanted.environment}


def render_engine(config: Config, slot: str) -> Tree:
    """The wanted release in ``slot``."""
    return Tree({engine_path(slot, card): File(_unit(config, slot, card)) for card in config.engine.cards})


def _unit(config: Config, slot: str, card: int) -> str:
    release, engine = config.wanted, config.engine
    return render_template(
        "engine/vllm.container.j2",
        slot=slot,
        card=card,
        device=device(card),
        unit=engine_unit(slot, card),
        image=release.image,
        arguments=[_word(word) for word in _arguments(config, slot, card)],
        run_mode=RUN_MODE,
        cdi_unit=CDI_UNIT if config.gpu.container_toolkit else "",
        environment=sorted(engine_environment(config).items()),
        weights_directory=config.weights.directory,
        model_directory=f"{config.weights.directory}/{release.model.revision}",
        shared_memory_mib=engine.shared_memory_mib,
        shutdown_timeout_seconds=engine.shutdown_timeout_seconds,
    )


def _arguments(config: Config, slot: str, card: int) -> list[str]:
    """The command line after ``vllm serve``. No secret: the API key comes by environment file."""
    own: dict[str, Argument] = {
        "host": "127.0.0.1",
        "port": engine_port(slot, card),
        "served-model-name": config.wanted.model.name,
        # Open WebUI's first message asks for tools; without these two it is refused.
        "enable-auto-tool-choice": True,
        "tool-call-parser": "openai",
        "shutdown-timeout": config.engine.shutdown_timeout_seconds,
        "disable-uvicorn-access-log": True,
        # Its documentation pages list every route of the engine.
        "disable-fastapi-docs": True,
    }
    words = ["/model"]
    for name, value in {**config.wanted.arguments, **own}.items():
        if value is False:
            words.append(f"--no-{name}")
        elif value is True:
            words.append(f"--{name}")
        else:
            words.extend((f"--{name}", str(value)))
    return words


def _word(word: str) -> str:
    """One word of a Quadlet Exec line: quoted for systemd, with its percent and dollar signs taken literally."""
    return shlex.quote(word).replace("%", "%%").replace("$", "$$")
