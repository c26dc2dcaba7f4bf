"""The stand-in nvidia-smi answers in the forms that the real one does."""

import json
import xml.etree.ElementTree as ElementTree
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tandem.rehearsal import rootfs

STANDINS = Path(rootfs.__file__).parent / "standins"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = SourceFileLoader("rehearsal_nvidia_smi", str(STANDINS / "nvidia-smi"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "OVERRIDES", tmp_path / "cards.json")
    return module


def lines(smi: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert smi.main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_every_file_says_that_it_is_a_stand_in() -> None:
    for source, _, _ in rootfs.STANDINS:
        opening = "\n".join((STANDINS / source).read_text().splitlines()[:3])
        assert "stand-in" in opening.lower(), source


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
