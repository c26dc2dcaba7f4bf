"""The stand-ins say what they are, and answer in the forms that the real programs do."""

import ctypes
import json
import os
import xml.etree.ElementTree as ElementTree
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tandem.rehearsal import rootfs
from tandem.rehearsal.apt import compile_library

STANDINS = Path(rootfs.__file__).parent / "standins"


NVRM = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (builder@example)\n"


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = SourceFileLoader(f"rehearsal_{name.replace('-', '_')}", str(STANDINS / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """nvidia-smi of a driver that has always been there; its files are below ``tmp_path``."""
    module = program("nvidia-smi", monkeypatch)
    for name in ("OVERRIDES", "LOADED", "LIBRARY", "PERSISTENCE", "POWER"):
        monkeypatch.setattr(module, name, tmp_path / name)
    return module


def install(smi: ModuleType, library: str, loaded: str) -> None:
    """A library of one version and, unless "", a loaded module of another."""
    (smi.LIBRARY.parent / f"libnvidia-ml.so.{library}").touch()
    smi.LIBRARY.symlink_to(f"libnvidia-ml.so.{library}")
    if loaded:
        smi.LOADED.write_text(NVRM.format(loaded))


def refusal(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and text of a plain nvidia-smi that fails."""
    with pytest.raises(SystemExit) as stopped:
        smi.main([])
    return int(stopped.value.code or 0), capsys.readouterr().out.strip()


def lines(smi: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert smi.main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_every_file_says_that_it_is_a_stand_in() -> None:
    assert {source for source, _, _ in (*rootfs.STANDINS, *rootfs.BLANK, *rootfs.DRIVEN)} <= set(os.listdir(STANDINS))
    for path in STANDINS.iterdir():
        if path.is_file():
            opening = "\n".join(path.read_text().splitlines()[:3])
            assert "stand-in" in opening.lower(), path.name


def test_two_cards_are_listed(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    listed = lines(smi, capsys, "-L")
    assert [line.split(" (UUID: GPU-")[0] for line in listed] == [
        "GPU 0: NVIDIA GeForce RTX 4090 D",
        "GPU 1: NVIDIA GeForce RTX 4090 D",
    ]


def test_query_has_units_unless_told(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    fields = "--query-gpu=index,driver_version,memory.total,pci.device_id,ecc.errors.corrected.volatile.total"
    assert lines(smi, capsys, fields, "--format=csv") == [
        "index, driver_version, memory.total [MiB], pci.device_id, ecc.errors.corrected.volatile.total",
        "0, 580.159.04, 24564 MiB, 0x268510DE, [N/A]",
        "1, 580.159.04, 24564 MiB, 0x268510DE, [N/A]",
    ]
    assert lines(smi, capsys, fields, "--format=csv,noheader,nounits", "-i", "1") == [
        "1, 580.159.04, 24564, 0x268510DE, [N/A]"
    ]


def test_memory_in_use_can_be_set_per_card(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    smi.OVERRIDES.write_text(json.dumps({"cards": [{"memory.used": 21000}, {}]}))
    asked = ["--query-gpu=memory.used,memory.free", "--format=csv,noheader,nounits"]
    assert lines(smi, capsys, *asked) == ["21000, 3082", "1, 24081"]


def test_no_card_and_no_driver_are_failures(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    smi.OVERRIDES.write_text(json.dumps({"cards": []}))
    assert smi.main(["-L"]) == 6
    smi.OVERRIDES.write_text(json.dumps({"error": "Failed to initialize NVML: Driver/library version mismatch"}))
    with pytest.raises(SystemExit) as stopped:
        smi.main([])
    assert stopped.value.code == 9
    assert "version mismatch" in capsys.readouterr().out


def test_unknown_field_is_refused(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert smi.main(["--query-gpu=memory.colour", "--format=csv"]) == 2
    assert 'Field "memory.colour" is not a valid field to query.' in capsys.readouterr().out


def test_xml_parses_and_the_table_is_as_wide_as_the_real_one(
    smi: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ElementTree.fromstring("\n".join(lines(smi, capsys, "-q", "-x")))  # noqa: S314 - our own text
    assert [total.text for total in log.iterfind("gpu/fb_memory_usage/total")] == ["24564 MiB", "24564 MiB"]
    assert {len(line) for line in lines(smi, capsys)} <= {0, 31, 91}


def test_cards_are_joined_by_the_host_bridge_only(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = "\n".join(lines(smi, capsys, "topo", "-m")[:3])
    assert "PHB" in matrix
    assert "NV" not in matrix.replace("NVIDIA", "")


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        ("mismatch", 18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95"),
        ("lost card", 15, "Unable to determine the device handle for GPU0000:41:00.0: GPU is lost.  Reboot the system"),
        ("nouveau", 9, "couldn't communicate with the NVIDIA driver"),
    ],
)
def test_known_failures_have_the_real_text_and_status(
    smi: ModuleType, capsys: pytest.CaptureFixture[str], state: str, status: int, words: str
) -> None:
    smi.OVERRIDES.write_text(json.dumps({"states": [state]}))
    ended, said = refusal(smi, capsys)
    assert ended == status
    assert words in said


def test_states_change_the_figures(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--query-gpu=memory.used,pcie.link.gen.max,pcie.link.width.current"
    smi.OVERRIDES.write_text(json.dumps({"states": ["foreign memory", "slow link"]}))
    assert lines(smi, capsys, asked, "--format=csv,noheader,nounits") == ["9000, 4, 16", "1, 3, 4"]
    smi.OVERRIDES.write_text(json.dumps({"states": ["one card", "slow link"]}))
    assert lines(smi, capsys, asked, "--format=csv,noheader,nounits") == ["1, 4, 16"]


def test_version_is_that_of_the_loaded_module(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    install(smi, "580.159.03", loaded="580.159.03")
    asked = ["--query-gpu=driver_version,persistence_mode", "--format=csv,noheader"]
    assert lines(smi, capsys, *asked) == ["580.159.03, Disabled"] * 2


def test_a_library_that_is_newer_than_the_module_is_a_mismatch(
    smi: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    install(smi, "580.159.04", loaded="580.159.03")
    status, said = refusal(smi, capsys)
    assert (status, said.splitlines()[-1]) == (18, "NVML library version: 580.159")


def test_a_library_without_a_module_is_no_driver(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    install(smi, "580.159.04", loaded="")
    assert refusal(smi, capsys)[0] == 9


def test_power_limit_holds_within_what_the_card_allows(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    lines(smi, capsys, "-i", "1", "-pl", "350")
    assert lines(smi, capsys, *asked) == ["425.00", "350.00"]
    assert smi.main(["-i", "0", "-pl", "600"]) != 0
    assert "between 150.00 W and 425.00 W" in capsys.readouterr().out
    assert lines(smi, capsys, *asked) == ["425.00", "350.00"]


def test_containers_get_the_hosts_library_by_name_and_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctk = program("nvidia-ctk", monkeypatch)
    (tmp_path / "libcuda.so.580.159.04").touch()
    (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.580.159.04")
    found = ctk.edits(["nvidia0", "nvidia1"], tmp_path)
    assert [device["name"] for device in found["devices"]] == ["0", "1", "all"]
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in found["containerEdits"]["mounts"]}
    library = str(tmp_path / "libcuda.so.580.159.04")
    assert mounts.items() >= {(library, library), (str(tmp_path / "libcuda.so.1"), library)}
    text = ctk.yaml(found)
    assert '  - name: "0"\n    containerEdits:\n      deviceNodes:\n        - path: "/dev/nvidia0"\n' in text
    assert f'    - hostPath: "{library}"\n      containerPath: "{library}"\n' in text


def test_libcuda_counts_the_cards_of_this_machine(tmp_path: Path) -> None:
    cards = sum(os.path.exists(f"/dev/nvidia{index}") for index in range(10))
    (tmp_path / "libcuda.so.1").write_bytes(compile_library("libcuda", tmp_path))
    cuda, count = ctypes.CDLL(str(tmp_path / "libcuda.so.1")), ctypes.c_int(-1)
    assert cuda.cuDeviceGetCount(ctypes.byref(count)) == 3
    assert cuda.cuInit(0) == (0 if cards else 100)
    assert cuda.cuDeviceGetCount(ctypes.byref(count)) == (0 if cards else 3)
    assert count.value == (cards or -1)


def test_a_blank_root_has_cards_and_no_driver(tmp_path: Path) -> None:
    for blank in (True, False):
        root = tmp_path / str(blank)
        (root / "etc").mkdir(parents=True)
        rootfs.furnish(root, blank)
        assert rootfs.is_blank(root) is blank
        assert (root / "usr/bin/nvidia-smi").exists() is not blank
        assert (root / "etc/cdi").exists() is not blank
        enabled = root / "etc/systemd/system/sysinit.target.wants/rehearsal-cards.service"
        assert enabled.is_symlink() is blank
