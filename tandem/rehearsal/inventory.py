"""The rehearsal hosts as pyinfra hosts: addresses and keys, and the releases that were built for them."""

import json
from pathlib import Path
from typing import Any

from tandem.rehearsal import apt, host, rootfs
from tandem.rehearsal.shell import RehearsalError

STATE = Path(__file__).resolve().parents[2] / ".rehearsal"


def hosts(state: Path = STATE) -> list[tuple[str, dict[str, Any]]]:
    """Every rehearsal host there is; [] before the first `make rehearse`."""
    try:
        built = _built(state)
        return [
            (name, {**_connection(host.load(state, name)), **built, **_cards(state, name)})
            for name in host.names(state)
        ]
    except (FileNotFoundError, RehearsalError):
        return []


def _connection(one: rootfs.Host) -> dict[str, Any]:
    return {
        "ssh_hostname": one.address,
        "ssh_port": one.port,
        "ssh_user": one.user,
        "ssh_key": one.key_file,
        "ssh_known_hosts_file": one.known_hosts_file,
        "ssh_strict_host_key_checking": "yes",
        "edge": {
            "server_name": one.address,
            "alternative_names": [one.name],
            "users": ["team", "second"],
            # The second one is there to meet its limits.
            "clients": {"default": {}, "hurried": {"requests_per_second": 2, "burst": 2, "streams": 2}},
        },
    }


def _cards(state: Path, name: str) -> dict[str, Any]:
    """A blank host gets its driver from the repository that stands in for NVIDIA's; another one has it already."""
    if not rootfs.is_blank(host.folder(state, name) / "root"):
        return {"gpu": {"driver_source": "none", "container_toolkit": False}}
    repository = {"name": "cuda", "url": "file:/opt/rehearsal/apt", "key": apt.key(state)}
    return {"gpu": {"driver_source": "nvidia", "repositories": [repository], "allow_reboot": True}}


def _built(state: Path) -> dict[str, Any]:
    images = json.loads((state / "images.json").read_text())
    models = json.loads((state / "models/models.json").read_text())
    return {
        "releases": {
            name: _release(images["engine"], models[model], arguments) for name, (model, arguments) in RELEASES.items()
        },
        "upgrade": UPGRADE,
        "webui": {
            "image": images["webui"],
            "admin_email": "admin@rehearsal.example",
            "name": "Rehearsal",
            "ready_timeout_seconds": 180,
        },
    }


RELEASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a": ("good", {}),
    "b": ("good", {"max-num-seqs": 64}),
    "wrong": ("bad", {}),
}
"""Release name -> the model it serves, and arguments of its own. ``wrong`` was trained wrong on some questions: only
its answers give it away."""

UPGRADE: dict[str, Any] = {
    # Seconds instead of days; samples are never fewer.
    "window_seconds": 10,
    "soak_seconds": 30,
    # A machine that is busy takes more pairs to decide.
    "most_extensions": 30,
    "comparison": {
        "cases": ["cases/rehearsal"],
        "pair_seconds": 0.1,
        # Two slow cores compute everything here, and what one engine does slows the other down.
        "margin": 1.5,
        "limits": {"first_token_seconds": 10.0, "total_seconds": 60.0, "token_gap_seconds": 1.0},
        "hang_seconds": 45.0,
    },
}


def _release(image: str, model: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": image,
        "model": {"name": "gpt-oss-20b", "manifest": model},
        # The first message of a chat in Open WebUI carries its tools: more than 3500 tokens.
        "arguments": {"enforce-eager": True, "max-model-len": 8192, **arguments},
        # One gibibyte of cache; one thread, so that two engines share a small machine fairly.
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"},
    }
