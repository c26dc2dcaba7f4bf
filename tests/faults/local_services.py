"""What runs on a host made of processes: its network, its routers and engines as services, and the stand-ins."""

import ctypes
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from tandem.domain.slots import engine_port, engine_unit
from tandem.hostside.paths import Paths
from tandem.rehearsal.knobs import PROGRAM
from tandem.render.nginx import with_config_digest
from tandem.render.router import Router, router_config
from tests.faults.local_units import Service
from tests.unit.nginx_process import example_config, for_this_version

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(__file__).parent / "programs"
CLONE_NEWNET: Final = 0x40000000
MODEL: Final = "gpt-oss-20b"
KEY: Final = "sk-of-the-engine"


@contextmanager
def network() -> Iterator[None]:
    """This thread, and what it starts, have a network of their own with nothing but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network of its own: these tests need root")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


def router_service(router: Router, folder: Path, paths: Paths) -> Service:
    """Nginx on the rendered configuration; its split and its log are below ``folder``."""
    split, log = paths.split / f"{router.kind}.conf", folder / f"{router.kind}.log"
    mine = replace(router, split=str(split), access_log=str(log))
    prefix = folder / router.unit
    prefix.mkdir()
    path = prefix / "nginx.conf"
    path.write_text(for_this_version(with_config_digest(router_config(example_config(), mine))))
    command = ["/usr/sbin/nginx", "-e", "stderr", "-p", str(prefix), "-c", str(path), "-g", "daemon off; user root;"]
    return Service(router.unit, lambda: (command, {}), reloads=True)


def engine_service(slot: str, card: int, paths: Paths) -> Service:
    """An engine with the knobs that its unit file says."""
    name = engine_unit(slot, card)
    file = paths.containers / f"{name}.container"
    command = [sys.executable, "-B", "-m", PROGRAM, "/model", "--host", "127.0.0.1", "--served-model-name", MODEL,
               "--shutdown-timeout", "15", "--port", str(engine_port(slot, card))]  # fmt: skip

    def run() -> tuple[list[str], Mapping[str, str]] | None:
        if not file.exists():
            return None
        words = [line.removeprefix('Environment="').rstrip('"') for line in file.read_text().splitlines()]
        given = dict(word.split("=", 1) for word in words if "=" in word)
        return command, {**given, "VLLM_API_KEY": KEY, "PYTHONPATH": str(ROOT)}

    return Service(name, run, may_start=lambda: not (paths.parked / name).exists())


def stand_ins(folder: Path) -> None:
    """systemctl and journalctl, in ``folder``/bin."""
    (folder / "bin").mkdir()
    for name, place in (("systemctl", folder / "systemctl.sock"), ("journalctl", folder / "engine.log")):
        path = folder / "bin" / name
        program = f"{sys.executable} -ISB {PROGRAMS / 'local_systemctl.py'}"
        path.write_text(f'#!/bin/sh\nexec {program} {place} {name} "$@"\n')
        path.chmod(0o755)
