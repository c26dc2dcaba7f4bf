"""Runs on the host as root, standard library only: does CUDA work in the engine's image, confined as the engine is?

Input: one JSON argument {"image", "cards": [indexes], "environment": {name: value}}.
Writes the proof to /var/lib/tandem/cuda-proof.json; else says why not, exit status 1.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tandem.domain.cuda import verdict
from tandem.domain.runmode import device, podman_flags
from tandem.hostside.cuda_proof import PROOF, present
from tandem.hostside.files import write_atomic
from tandem.hostside.gpu_state import loaded

TIMEOUT_SECONDS = 180
PROGRAM = """
import ctypes, json
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    print(json.dumps({"library": str(error)}))
    raise SystemExit
count = ctypes.c_int()
answer = {"library": "", "init": cuda.cuInit(0)}
if answer["init"] == 0:
    answer["count_status"] = cuda.cuDeviceGetCount(ctypes.byref(count))
    answer["count"] = count.value
print(json.dumps(answer))
"""


def command(job: dict[str, Any]) -> list[str]:
    devices = [f"--device={device(card)}" for card in job["cards"]]
    variables = [f"--env={name}={value}" for name, value in sorted(job["environment"].items())]
    fixed = ["podman", "run", "--rm", "--pull=never", "--log-driver=none", "--entrypoint=python3"]
    return [*fixed, *podman_flags(), *devices, *variables, job["image"], "-c", PROGRAM]


def problem(job: dict[str, Any]) -> str:
    """Why CUDA does not work in the container; "" when it does."""
    try:
        done = subprocess.run(command(job), capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"the container gave no answer for {TIMEOUT_SECONDS} s: the driver hangs (journalctl -k)"
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or lines or ["nothing"])[-1]
        return f"the container did not run (status {done.returncode}): {said}"
    return verdict(answer, len(job["cards"]))


def main() -> None:
    job = json.loads(sys.argv[1])
    why = problem(job)
    if why:
        PROOF.unlink(missing_ok=True)
        sys.exit(f"CUDA does not work in the engine's container: {why}. No engine was started or stopped for this.")
    write_atomic(PROOF, json.dumps({"key": present(job)}) + "\n")
    Path("/var/lib/tandem/driver/change.json").unlink(missing_ok=True)
    print(f"CUDA counts {len(job['cards'])} cards in the engine's container with driver {loaded()}")


if __name__ == "__main__":
    main()
