"""The CUDA proof: what it means, how its container is confined, and what a specification must hold."""

import ctypes.util
import json
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from tandem.domain.cuda import key, verdict
from tandem.domain.runmode import RUN_MODE, podman_flags
from tandem.hostside.cdi import NotMade, check
from tandem.hostside.smoke_cuda import PROGRAM

GENERATED = """---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
    - containerEdits:
        deviceNodes:
            - path: /dev/nvidia1
      name: "1"
    - name: all
containerEdits:
    hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
    mounts:
        - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04
          containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04
"""
"""As nvidia-ctk 1.18 and later write it."""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"library": "libcuda.so.1: cannot open shared object file"}, "cannot open shared object file"),
        ({"library": "", "init": 803}, "error 803"),
        ({"library": "", "init": 804}, "GeForce"),
        ({"library": "", "init": 100}, "no device"),
        ({"library": "", "init": 4321}, "error 4321"),
        ({"library": "", "init": 0, "count_status": 999}, "cuDeviceGetCount failed with CUDA error 999"),
        ({"library": "", "init": 0, "count_status": 0, "count": 1}, "counts 1 cards"),
    ],
)
def test_a_failure_is_named_in_words(answer: dict[str, object], said: str) -> None:
    assert said in verdict(answer, cards=2)


def test_two_cards_counted_of_two_is_a_proof() -> None:
    assert verdict({"library": "", "init": 0, "count_status": 0, "count": 2}, cards=2) == ""


def test_a_proof_holds_for_one_driver_image_specification_cards_and_environment() -> None:
    proofs = [
        key("580.1", "i@1", "s", (0, 1), {}),
        key("580.2", "i@1", "s", (0, 1), {}),
        key("580.1", "i@2", "s", (0, 1), {}),
        key("580.1", "i@1", "t", (0, 1), {}),
        key("580.1", "i@1", "s", (0,), {}),
        key("580.1", "i@1", "s", (0, 1), {"LD_LIBRARY_PATH": "/x"}),
    ]
    assert all(one != other for one, other in combinations(proofs, 2))
    assert key("580.1", "i@1", "s", (1, 0), {}) == proofs[0]
    assert json.loads(json.dumps(proofs[-1])) == proofs[-1]


def test_every_line_of_the_run_mode_reaches_podman() -> None:
    flags = " ".join(podman_flags())
    assert flags == (
        "--user=59001:59001 --network=host --cap-drop=ALL --security-opt=no-new-privileges --read-only "
        "--read-only-tmpfs=true"
    )
    assert len(RUN_MODE) == len(podman_flags()) + 1  # user and group are one option


def test_a_specification_with_every_card_and_one_driver_is_accepted() -> None:
    check(GENERATED, (0, 1), "580.159.04")


@pytest.mark.parametrize(
    ("cards", "driver", "said"), [((0, 2), "580.159.04", "no card 2"), ((0,), "580.167.01", "libcuda 580.159.04")]
)
def test_a_specification_of_other_cards_or_another_driver_is_refused(
    cards: tuple[int, ...], driver: str, said: str
) -> None:
    with pytest.raises(NotMade, match=said):
        check(GENERATED, cards, driver)


def test_the_program_in_the_container_says_why_the_library_is_not_there() -> None:
    assert not ctypes.util.find_library("cuda"), "this machine has a driver: the test needs one without"
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "libcuda.so.1" in done.stdout


@pytest.mark.parametrize(("init", "count", "answer"), [(0, 2, '"count": 2'), (803, 0, '"init": 803')])
def test_the_program_in_the_container_calls_the_driver(tmp_path: Path, init: int, count: int, answer: str) -> None:
    """A STAND-IN for libcuda.so.1, compiled here, answers."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "apt-get install gcc"
    source = tmp_path / "cuda.c"
    source.write_text(
        f"int cuInit(unsigned flags) {{ return {init}; }}\n"
        f"int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer in done.stdout
