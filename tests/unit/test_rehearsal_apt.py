"""The repository that stands in for NVIDIA's is one that apt, dpkg and DKMS take for real."""

import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tandem.rehearsal import apt
from tandem.rehearsal.nvidia_packages import BROKEN


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    apt.build(folder, lambda _sentence: None)
    return folder


def index(repository: Path) -> list[Mapping[str, str]]:
    paragraphs = (repository / "Packages").read_text().split("\n\n")
    return [dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE)) for paragraph in paragraphs]


def output(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["apt", "apt-broken"])
def test_the_key_verifies_the_signature_and_the_signature_the_index(state: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "key.asc").write_text(apt.key(state))
    gpg = ["gpg", "--homedir", tmp_path, "--batch", "--quiet"]
    output(
        "gpg",
        "--homedir",
        tmp_path,
        "--batch",
        "--quiet",
        "--dearmor",
        "-o",
        tmp_path / "key.gpg",
        tmp_path / "key.asc",
    )
    output("gpgv", "--keyring", tmp_path / "key.gpg", state / name / "InRelease")
    release = output(*gpg, "--skip-verify", "--decrypt", state / name / "InRelease")
    content = (state / name / "Packages").read_bytes()
    assert f" {hashlib.sha256(content).hexdigest()} {len(content)} Packages" in release


@pytest.mark.parametrize("name", ["apt", "apt-broken"])
def test_every_package_is_there_as_the_index_says(state: Path, name: str) -> None:
    for package in index(state / name):
        content = (state / name / package["Filename"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(package["Size"]), package["SHA256"])
        assert "A STAND-IN" in package["Description"]
    assert {package["Version"] for package in index(state / "apt-broken")} == {f"{BROKEN}-1"}


def test_a_driver_is_of_one_version(state: Path) -> None:
    wanted = {"nvidia-kernel-open-dkms", "libcuda1", "libnvidia-ml1"}
    for package in index(state / "apt"):
        if package["Package"] == "nvidia-driver-cuda":
            same = re.findall(r"(\S+) \(= (\S+)\)", package["Depends"])
            assert set(same) == {(name, package["Version"]) for name in wanted}


def test_each_branch_has_its_pin(state: Path, tmp_path: Path) -> None:
    output("dpkg-deb", "-x", state / "apt/nvidia-driver-pinning-580_580-1_amd64.deb", tmp_path)
    assert "Pin: version 580.*" in (tmp_path / "etc/apt/preferences.d/nvidia-driver-pinning-580").read_text()


def test_only_the_broken_version_is_compiled_broken(state: Path, tmp_path: Path) -> None:
    found = {}
    for file in (state / "apt/nvidia-kernel-open-dkms_580.159.04-1_amd64.deb",
                 state / f"apt-broken/nvidia-kernel-open-dkms_{BROKEN}-1_amd64.deb"):  # fmt: skip
        output("dpkg-deb", "-x", file, tmp_path)
    for folder in (tmp_path / "usr/src").iterdir():
        found[folder.name] = "STANDIN_BROKEN" in (folder / "Makefile").read_text()
    assert found == {"nvidia-580.159.04": False, f"nvidia-{BROKEN}": True}


def test_nothing_is_made_twice_and_a_damaged_repository_is_made_again(state: Path) -> None:
    said: list[str] = []
    apt.build(state, said.append)
    assert said == []
    key, packages, signature = apt.key(state), index(state / "apt"), (state / "apt/InRelease").read_text()
    (state / "apt/stamp").write_text("another")
    (state / "apt/left-over").touch()
    apt.build(state, said.append)
    assert len(said) == 1
    assert (state / "apt/InRelease").read_text() != signature
    assert not (state / "apt/left-over").exists()
    assert index(state / "apt") == packages, "hosts have these hashes in their lists"
    assert apt.key(state) == key, "hosts that trust the old key would refuse the new repository"
