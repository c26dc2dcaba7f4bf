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


def test_no_copy_is_left_unfinished(weights: Seen) -> None:
    assert not weights["unfinished"]
