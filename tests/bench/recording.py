"""Takes pairs of two engines of one release: on a rehearsal host, or of two engines with noise on this machine."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tandem.config import case_files
from tandem.domain.slots import engine_port
from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tests.bench.questions import rehearsal
from tests.faults.onhost import OnHost
from tests.unit.nginx_process import free_ports

ROOT: Final = Path(__file__).resolve().parents[2]
CASES: Final = ROOT / "cases/rehearsal"
PROGRAM: Final = Path(__file__).parent / "programs/pairs.py"
ENGINE: Final = "tandem.rehearsal.programs.knobs.engine"
READY_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 5.0
MODEL: Final = "gpt-oss-20b"

FOLDER: Final = "/run/tandem-bench-pairs"
UNIT: Final = "tandem-bench-pairs"
START: Final = f"""
systemctl reset-failed {UNIT} 2>/dev/null || true
systemd-run --quiet --collect --unit={UNIT} --setenv=PYTHONPATH="$(readlink -f /usr/local/lib/tandem/current)" \\
    --property=StandardError=file:{FOLDER}/errors python3 -B {FOLDER}/pairs.py {FOLDER}/order.json {FOLDER}/pairs.jsonl
"""


@dataclass(frozen=True)
class How:
    """``pairs`` for each weight, while ``users`` ask; ``seconds`` at most."""

    weights: list[int]
    pairs: int
    users: int
    think_seconds: float
    pair_seconds: float
    seconds: float

    def order(self, ports: list[int], model: str, key_file: str) -> dict[str, Any]:
        return {
            **vars(self),
            "ports": ports,
            "model": model,
            "key_file": key_file,
            "cases": json.loads(case_files.document(case_files.read([CASES]))),
            "questions": [one.prompt for one in rehearsal()],
        }


def local(how: How, output: Path) -> None:
    """Two engines without a model on loopback. Raises RuntimeError when there are fewer pairs than asked for."""
    with tempfile.TemporaryDirectory(prefix="tandem-pairs-") as folder, ExitStack() as stack:
        key = Path(folder, "key")
        key.write_text("sk-of-two-engines")
        ports = free_ports(2)
        for seed, port in enumerate(ports):
            environment = {**os.environ, "VLLM_API_KEY": key.read_text(), "KNOB_SEED": str(seed)}
            options = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL]
            command = [sys.executable, "-m", ENGINE, *options]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        order = Path(folder, "order.json")
        order.write_text(json.dumps(how.order(ports, MODEL, str(key))))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(PROGRAM), str(order), str(output)]
        if subprocess.run(command, env=environment, check=False).returncode:
            raise RuntimeError(f"{output} has fewer pairs than were asked for; what it has is whole")


def on_host(name: str, how: How, output: Path) -> None:
    """The two engines of the release that rehearsal host ``name`` serves; nothing of the product is changed there.

    Raises RuntimeError when there are fewer pairs than asked for; what was taken is in ``output``.
    """
    if name not in host.names(STATE):
        raise SystemExit(f"there is no rehearsal host {name}: run `make rehearse` first")
    there = OnHost(name)
    state = json.loads(there.shell("cat /var/lib/tandem/state.json"))
    if state["state"] != "idle":
        raise RuntimeError(f"{name} has a rollout under way ({state['state']}). Nothing was done. Let it end first.")
    slot = state["serving"]
    ports = [engine_port(slot, card) for card in (0, 1)]
    order = how.order(ports, state["slots"][slot]["model"] or MODEL, "/etc/tandem/secrets/upstream_key")
    there.shell(
        f"rm -rf {FOLDER}\nmkdir -m 0700 {FOLDER}\n"
        f"cat >{FOLDER}/order.json <<'ORDER'\n{json.dumps(order)}\nORDER\n"
        f"cat >{FOLDER}/pairs.py <<'PROGRAM'\n{PROGRAM.read_text()}PROGRAM\n{START}"
    )
    try:
        while there.shell(f"systemctl is-active {UNIT}", check=False).strip() in ("active", "activating"):
            time.sleep(LOOK_SECONDS)
    finally:
        there.shell(f"systemctl stop {UNIT}", check=False)
        output.write_text(there.shell(f"cat {FOLDER}/pairs.jsonl", check=False))
        errors = there.shell(f"tail -n 1 {FOLDER}/errors", check=False).strip()
        there.shell(f"rm -rf {FOLDER}")
    wanted = how.pairs * len(how.weights)
    taken = len(output.read_text().splitlines()) - 1
    if taken < wanted:
        raise RuntimeError(f"{taken} of {wanted} pairs: {errors}")
