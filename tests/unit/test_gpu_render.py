"""What is written on a host for its cards."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tandem.config import Config
from tandem.render.engine import render_engine
from tandem.render.gpu import gpu_units, render_gpu
from tandem.render.tree import File, Link, Tree
from tests.golden.rendered import example


def with_gpu(**changes: Any) -> Config:
    config = example()
    return config.model_copy(update={"gpu": config.gpu.model_copy(update=changes)})


def text(tree: Tree, path: str) -> str:
    entry = tree.entries[path]
    assert isinstance(entry, File)
    return entry.content


def test_a_repository_is_trusted_by_its_own_key_only() -> None:
    tree = render_gpu(example())
    source = text(tree, "/etc/apt/sources.list.d/tandem-cuda.sources")
    assert "Signed-By: /etc/apt/keyrings/tandem-cuda.asc" in source
    assert "Components" not in source
    assert "BEGIN PGP PUBLIC KEY BLOCK" in text(tree, "/etc/apt/keyrings/tandem-cuda.asc")


@pytest.mark.parametrize(
    ("version", "pin"), [(None, "Pin: version 580.*"), ("580.159.04", "Pin: version 580.159.04-*")]
)
def test_floating_names_are_pinned(version: str | None, pin: str) -> None:
    tree = render_gpu(with_gpu(driver_version=version))
    assert pin in text(tree, "/etc/apt/preferences.d/60-tandem-gpu").splitlines()


def test_a_driver_that_is_not_ours_gets_neither_pin_nor_blacklist() -> None:
    paths = render_gpu(with_gpu(driver_source="none", container_toolkit=False)).entries
    assert not [path for path in paths if path.startswith(("/etc/apt", "/etc/modprobe.d"))]
    assert "/etc/systemd/system/tandem-driver-check.timer" in paths


def test_an_engine_waits_for_the_specification_of_this_boot() -> None:
    config = example()
    unit = text(render_engine(config, "blue"), "/etc/containers/systemd/vllm-blue-0.container")
    assert "Requires=tandem-cdi.service" in unit
    assert "After=network-online.target tandem-cdi.service" in unit
    assert isinstance(render_gpu(config).entries["/etc/systemd/system/nvidia-cdi-refresh.service"], Link)


def test_without_the_toolkit_no_unit_is_waited_for() -> None:
    config = with_gpu(container_toolkit=False)
    assert "tandem-cdi" not in text(render_engine(config, "blue"), "/etc/containers/systemd/vllm-blue-0.container")
    assert "tandem-cdi.service" not in [unit.name for unit in gpu_units(config)]


def test_power_limits_are_a_unit_that_is_restarted_when_they_change() -> None:
    low, high = with_gpu(power_limit_watts={1: 300, 0: 320}), with_gpu(power_limit_watts={0: 350})
    unit = text(render_gpu(low), "/etc/systemd/system/tandem-power-limit.service")
    assert [line for line in unit.splitlines() if "-pl" in line] == [
        "ExecStart=/usr/bin/nvidia-smi -i 0 -pl 320",
        "ExecStart=/usr/bin/nvidia-smi -i 1 -pl 300",
    ]
    started = [unit.started for config in (low, high) for unit in gpu_units(config) if "power" in unit.name]
    assert len(set(started)) == 2
    assert "tandem-power-limit.service" not in [unit.name for unit in gpu_units(example())]


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "apt-get install systemd"
    tree = render_gpu(with_gpu(power_limit_watts={0: 320}))
    names = []
    for path, entry in tree.entries.items():
        if isinstance(entry, File) and path.startswith("/etc/systemd/system/tandem-"):
            # The programs are on the host, not here.
            content = entry.content.replace("/usr/local/bin/tandem-gpu", "/bin/true")
            names.append(tmp_path / Path(path).name)
            names[-1].write_text(content.replace("/usr/bin/nvidia-smi", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "tandem-" in line and _counts(line)] == []


def _counts(line: str) -> bool:
    """systemd before 254 (on the machine that runs this test) does not know RestartMode; a host's does."""
    return "not found" not in line and "RestartMode" not in line
