"""Manifests and keys: files on the operator's machine that the inventory names."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tandem.config import ConfigError, load
from tests.unit.test_config import GOOD

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"


def with_manifest(path: str) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    data["releases"]["a"]["model"]["manifest"] = path
    return data


def with_key(path: str) -> dict[str, Any]:
    repository = {"name": "cuda", "url": "https://repository.example/cuda", "key": path}
    return {**GOOD, "gpu": {"driver_source": "nvidia", "repositories": [repository]}}


def test_a_manifest_is_read_from_its_path(tmp_path: Path) -> None:
    manifest = GOOD["releases"]["a"]["model"]["manifest"]
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    assert load(with_manifest(str(tmp_path / "m.json")), "gpu1") == load(GOOD, "gpu1")


def test_a_key_is_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "k.asc").write_text(KEY)
    assert load(with_key(str(tmp_path / "k.asc")), "gpu1").gpu.repositories[0].key == KEY


@pytest.mark.parametrize("data", [with_manifest("absent.json"), with_key("absent.asc")], ids=["manifest", "key"])
def test_a_missing_file_is_named(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^absent\.\w+ can't be read \(No such file or directory\).*nothing|Nothing"):
        load(data, "gpu1")


def test_a_manifest_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ConfigError, match=r"m\.json is not a manifest .*nothing was changed on gpu1"):
        load(with_manifest(str(tmp_path / "m.json")), "gpu1")


def test_an_error_in_a_manifest_is_reported_at_its_place(tmp_path: Path) -> None:
    manifest = {**GOOD["releases"]["a"]["model"]["manifest"], "revision": "main"}
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="releases/a/model/manifest/revision: 'main' is not a 40-digit revision"):
        load(with_manifest(str(tmp_path / "m.json")), "gpu1")


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.asc").write_text("<html>")
    with pytest.raises(ConfigError, match=r"gpu/repositories/0/key: .*ASCII-armoured public key"):
        load(with_key(str(tmp_path / "k.asc")), "gpu1")
