"""The model files of the serving release."""

from tests.host.reading import Seen


def test_every_model_file_has_the_hash_it_was_verified_with(weights: Seen) -> None:
    assert weights["models"]
    for revision, model in weights["models"].items():
        assert model["hashes"], revision
        assert model["hashes"] == model["verified"], revision


def test_model_files_belong_to_root_and_are_only_read(weights: Seen) -> None:
    modes = {mode for model in weights["models"].values() for mode in model["modes"].values()}
    assert modes == {"0644 0"}


def test_no_model_file_must_be_hashed_again_at_every_run(weights: Seen) -> None:
    assert not [name for model in weights["models"].values() for name in model["outdated"]]


def test_every_model_has_what_an_engine_reads_offline(weights: Seen) -> None:
    for revision, model in weights["models"].items():
        names = model["hashes"].keys()
        assert "config.json" in names, revision
        assert {"tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json"} & names, revision
        assert any(name.endswith(".safetensors") for name in names), revision


def test_no_copy_in_another_format_takes_room(weights: Seen) -> None:
    names = [name for model in weights["models"].values() for name in model["hashes"]]
    assert not [name for name in names if name.startswith(("original/", "metal/"))]


def test_no_copy_is_left_unfinished(weights: Seen) -> None:
    assert not weights["unfinished"]
