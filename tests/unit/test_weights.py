"""Model files, really fetched in a temporary folder, each run twice."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem.hostside import fetch_weights, observe_weights

REVISION = "a" * 40
TEXTS = {"config.json": "{}", "sub/model.safetensors": "weights"}
FILES = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in TEXTS.items()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    for name, text in TEXTS.items():
        path = tmp_path / "source" / REVISION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return tmp_path


def look(place: Path) -> dict[str, Any]:
    question = json.dumps({"directory": str(place / "weights"), "models": {REVISION: FILES}})
    program = str(observe_weights.__file__)
    done = subprocess.run([sys.executable, "-I", program, question], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)[REVISION]
    return answer


def fetch(place: Path, *sources: str) -> "subprocess.CompletedProcess[str]":
    folders = [str(place / source) for source in sources or ("source",)]
    job = {"directory": str(place / "weights"), "revision": REVISION, "files": FILES, "sources": folders}
    program = str(fetch_weights.__file__)
    return subprocess.run([sys.executable, "-I", program], input=json.dumps(job), capture_output=True, text=True)


def test_a_model_is_published_whole_and_readable_by_engines(place: Path) -> None:
    assert look(place) == {"published": False, "wrong": list(FILES)}
    for _ in range(2):
        assert fetch(place).returncode == 0
        assert look(place) == {"published": True, "wrong": []}
    assert (place / "weights" / REVISION / "config.json").stat().st_mode & 0o777 == 0o644
    assert not list((place / "weights").glob(".incoming*"))


def test_the_first_source_that_has_every_file_is_used(place: Path) -> None:
    assert fetch(place, "nowhere", "source").returncode == 0
    assert look(place)["wrong"] == []


def test_no_source_is_said_with_what_each_lacks(place: Path) -> None:
    done = fetch(place, "nowhere")
    assert done.returncode == 1
    assert f"nowhere/{REVISION} lacks config.json" in done.stderr
    assert "nothing was copied" in done.stderr


def test_a_wrong_checksum_publishes_nothing_and_is_quarantined(place: Path) -> None:
    (place / "source" / REVISION / "sub/model.safetensors").write_text("other!!")
    for _ in range(2):
        done = fetch(place)
        assert done.returncode == 1
        assert "its SHA-256 is" in done.stderr
        assert "nothing was published" in done.stderr
        assert look(place)["published"] is False
    assert (place / "weights/quarantine/model.safetensors").read_text() == "other!!"
    (place / "source" / REVISION / "sub/model.safetensors").write_text(TEXTS["sub/model.safetensors"])
    assert fetch(place).returncode == 0
    assert look(place) == {"published": True, "wrong": []}


@pytest.mark.parametrize("damage", ["changed", "same size", "removed"])
def test_a_file_changed_by_hand_is_seen_and_only_it_is_repaired(place: Path, damage: str) -> None:
    fetch(place)
    model, config = (place / "weights" / REVISION / name for name in ("sub/model.safetensors", "config.json"))
    untouched = config.stat().st_ino
    if damage == "removed":
        model.unlink()
    else:
        model.write_text("changed by hand" if damage == "changed" else "WEIGHTS")
    assert look(place) == {"published": True, "wrong": ["sub/model.safetensors"]}
    assert fetch(place).returncode == 0
    assert look(place)["wrong"] == []
    assert model.read_text() == "weights"
    assert config.stat().st_ino == untouched


def test_a_copy_cut_short_is_finished_by_the_next_run(place: Path) -> None:
    incoming = place / "weights" / f".incoming-{REVISION}"
    incoming.mkdir()
    (incoming / "config.json").write_text("{")
    assert fetch(place).returncode == 0
    assert look(place) == {"published": True, "wrong": []}
