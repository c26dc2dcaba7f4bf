"""`python -m tandem.manifest`, really run against a stand-in hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem.config.manifest import Manifest
from tandem.manifest import of_folder
from tests.unit.hub import OLDER, REPOSITORY, REVISION, Fault, Hub, hub, manifest_files, model, safetensors

ROOT = Path(__file__).resolve().parents[2]
FILES = model()
INDEX = "model.safetensors.index.json"


@pytest.fixture
def there() -> Iterator[Hub]:
    with hub(dict(FILES)) as one:
        yield one


def make(output: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tandem.manifest", REPOSITORY, "--output", str(output), *words]
    direct = {**os.environ, "no_proxy": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=direct, capture_output=True, text=True, timeout=60)


def made(output: Path, *words: str) -> dict[str, Any]:
    done = make(output, *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(output.read_text())
    Manifest.model_validate(found)
    return found


def refused(output: Path, *words: str) -> str:
    done = make(output, *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("nothing was written\n")
    assert not output.exists()
    return done.stderr


EXPECTED = {
    "repository": REPOSITORY,
    "weight_bytes": 600_000,
    "config": {"model_type": "gpt_oss", "num_hidden_layers": 2},
}


@pytest.mark.parametrize("revision", [[], ["--revision", REVISION]], ids=["branch", "commit"])
def test_the_hub_is_pinned_to_the_commit_and_copies_are_left_out(
    there: Hub, tmp_path: Path, revision: list[str]
) -> None:
    found = made(tmp_path / "m.json", "--endpoint", there.address, *revision)
    assert found == {**EXPECTED, "revision": REVISION, "files": manifest_files(FILES)}
    # The hub knows the hashes of large files: they are not downloaded.
    assert there.sent < 1000


def test_what_was_found_is_said(there: Hub, tmp_path: Path) -> None:
    done = make(tmp_path / "m.json", "--endpoint", there.address)
    assert "left out: 3 files that no engine reads, 293.6 KiB" in done.stdout
    assert f"{REPOSITORY} at {REVISION}: 7 files, 586.3 KiB, of which 585.9 KiB are weights" in done.stdout


def test_a_second_run_writes_the_same(there: Hub, tmp_path: Path) -> None:
    output = tmp_path / "m.json"
    made(output, "--endpoint", there.address)
    first = output.read_bytes()
    made(output, "--endpoint", there.address)
    assert output.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_modelscope_is_pinned_to_the_newest_commit_of_its_files(there: Hub, tmp_path: Path) -> None:
    found = made(tmp_path / "m.json", "--kind", "modelscope", "--endpoint", there.address)
    assert found == {**EXPECTED, "revision": OLDER, "files": manifest_files(FILES)}


def test_modelscope_whose_commit_is_not_the_branch_is_refused(there: Hub, tmp_path: Path) -> None:
    there.modelscope_revisions = ("master",)
    said = refused(tmp_path / "m.json", "--kind", "modelscope", "--endpoint", there.address)
    assert "HTTP 404 Not Found" in said


def test_a_plain_web_server_is_asked_for_the_usual_files_and_those_of_the_index(there: Hub, tmp_path: Path) -> None:
    words = ["--kind", "http", "--endpoint", f"{there.address}/plain", "--revision", REVISION]
    found = made(tmp_path / "m.json", *words)
    usual = [name for name in manifest_files(FILES) if name != "README.md"]
    assert found == {**EXPECTED, "revision": REVISION, "files": manifest_files(FILES, *usual)}


def test_a_file_that_a_plain_web_server_breaks_off_is_not_pinned_as_it_came(there: Hub, tmp_path: Path) -> None:
    there.faults["tokenizer.json"] = Fault(cut_after=5, times=2)
    words = ["--kind", "http", "--endpoint", f"{there.address}/plain", "--revision", REVISION]
    found = made(tmp_path / "m.json", *words)
    assert found["files"]["tokenizer.json"] == manifest_files(FILES)["tokenizer.json"]
    assert there.faults["tokenizer.json"].times == 0


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_gives_the_same_manifest(tmp_path: Path) -> None:
    fill(tmp_path / "model", {**FILES, "verified.json": b"{}"})
    words = ["--kind", "folder", "--folder", str(tmp_path / "model"), "--revision", REVISION]
    assert made(tmp_path / "m.json", *words) == {
        **EXPECTED, "revision": REVISION, "files": manifest_files(FILES)
    }  # fmt: skip


def test_tensors_are_summed_from_headers_without_an_index(there: Hub, tmp_path: Path) -> None:
    """One file as ``model.safetensors``: only its first bytes are read."""
    del there.files[INDEX]
    assert made(tmp_path / "m.json", "--endpoint", there.address)["weight_bytes"] == 600_000
    assert there.sent < 3000


def test_a_folder_of_one_file_is_summed_from_its_header(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": safetensors(12345)}
    assert of_folder(fill(tmp_path / "model", files), REPOSITORY, REVISION)["weight_bytes"] == 12345


def test_a_hub_that_wants_a_login_is_refused(there: Hub, tmp_path: Path) -> None:
    there.faults[INDEX] = Fault(status=401)
    said = refused(tmp_path / "m.json", "--endpoint", there.address)
    assert "HTTP 401 Unauthorized: it asks for a login, and no credentials are sent" in said


def test_an_index_that_names_missing_files_is_refused(there: Hub, tmp_path: Path) -> None:
    there.files[INDEX] = b'{"weight_map": {"w": "missing.safetensors"}}'
    said = refused(tmp_path / "m.json", "--endpoint", there.address)
    assert f"{INDEX} names files that are not there: missing.safetensors" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config.json", "has no config.json: it is not a model that vLLM serves"),
        ("tokenizer.json", "it has no tokenizer (tekken.json, tokenizer.json, tokenizer.model, vocab.json)"),
    ],
)
def test_a_model_that_lacks_something_is_refused(there: Hub, tmp_path: Path, name: str, sentence: str) -> None:
    del there.files[name]
    assert sentence in refused(tmp_path / "m.json", "--endpoint", there.address)


def test_weights_that_are_missing_are_refused(there: Hub, tmp_path: Path) -> None:
    there.files[INDEX] = there.files[INDEX].replace(b"600000", b"700000")
    said = refused(tmp_path / "m.json", "--endpoint", there.address)
    assert "and their tensors 700000: files are missing there" in said


def test_an_unknown_revision_or_model_is_said(there: Hub, tmp_path: Path) -> None:
    said = refused(tmp_path / "m.json", "--endpoint", there.address, "--revision", "v9")
    assert f"no manifest of {REPOSITORY} from {there.address}: HTTP 404 Not Found" in said


def test_what_answers_but_is_no_hub_is_said(there: Hub, tmp_path: Path) -> None:
    """A page of a login portal, say, answers everything."""
    there.hijacked = b"<html>Welcome to the network</html>"
    for kind in ("huggingface", "modelscope"):
        said = refused(tmp_path / "m.json", "--kind", kind, "--endpoint", there.address)
        assert "is not JSON" in said or "its list of files can't be read" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--kind", "folder", "--revision", REVISION], "--kind folder needs --folder"),
        (["--kind", "http", "--endpoint", "http://h"], "--kind http needs --revision"),
        (["--kind", "http", "--revision", REVISION], "--kind http needs --endpoint"),
    ],
)
def test_missing_options_are_named(tmp_path: Path, words: list[str], sentence: str) -> None:
    done = make(tmp_path / "m.json", *words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_a_folder_that_is_no_model_is_said(tmp_path: Path) -> None:
    words = ["--kind", "folder", "--folder", str(tmp_path), "--revision", REVISION]
    assert f"{tmp_path} has no config.json; --folder names the folder that holds it" in refused(
        tmp_path / "m.json", *words
    )


def test_the_example_manifest_has_the_form() -> None:
    found = json.loads((ROOT / "manifests/gpt-oss-20b.json").read_text())
    assert Manifest.model_validate(found).repository == "openai/gpt-oss-20b"
