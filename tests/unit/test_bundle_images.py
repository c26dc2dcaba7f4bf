"""Images in a bundle: real skopeo against a registry, digests as they were published, layers brought once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.bundling import images
from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.config.runtime import Mirror, OciLayout
from tests.unit.registry import DOCKER, LIST, OCI, Registry, digest_of, running


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running() as one:
        yield one


def find(registry: Registry, name: str, local: list[Path], folder: Path) -> images.Image:
    mirror = Mirror(kind="mirror", prefix=registry.prefix, insecure=True)
    return images.find(name, images.origins(name, [mirror], local, folder))


def bring(registry: Registry, folder: Path, *names: str) -> tuple[Path, list[str]]:
    """The layout that holds these images, and what was said meanwhile."""
    said: list[str] = []
    found = [find(registry, name, [], folder) for name in names]
    hashes = Hashes(folder, folder / "hashes.json")
    (folder / "scratch").mkdir(exist_ok=True)
    images.bring(found, folder / "images", folder / "scratch", hashes, said.append)
    return folder / "images", said


def blobs(layout: Path) -> dict[str, bytes]:
    return {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}


@pytest.mark.parametrize("media", [OCI, DOCKER])
def test_an_image_keeps_its_digest_in_either_form(registry: Registry, tmp_path: Path, media: str) -> None:
    name = registry.add("team/engine", [b"one", b"two"], media)
    layout, _ = bring(registry, tmp_path, name)
    index = json.loads((layout / "index.json").read_text())["manifests"]
    assert [(entry["digest"], entry["mediaType"]) for entry in index] == [(name.partition("@")[2], media)]
    have = blobs(layout)
    assert all(digest_of(data) == digest for digest, data in have.items())
    assert have.keys() == {name.partition("@")[2], *registry.blobs}


def test_layers_that_images_share_come_once_and_a_second_run_brings_none(registry: Registry, tmp_path: Path) -> None:
    names = [registry.add("team/a", [b"shared", b"a"]), registry.add("team/b", [b"shared", b"b"])]
    parsed = [json.loads(data) for _, data in registry.manifests.values()]
    layers = {layer["digest"] for one in parsed for layer in one["layers"]}
    bring(registry, tmp_path, *names)
    assert {digest: registry.served.count(digest) for digest in layers} == dict.fromkeys(layers, 1)
    registry.served.clear()
    assert bring(registry, tmp_path, *names)[1] == []
    assert not layers & set(registry.served)


def test_after_an_interruption_only_what_is_missing_comes(registry: Registry, tmp_path: Path) -> None:
    name = registry.add("team/engine", [os.urandom(300_000), os.urandom(500_000)])
    first, second = (one["digest"] for one in json.loads(registry.manifests[name.partition("@")[2]][1])["layers"])
    registry.cut = {second}
    with pytest.raises(BundleError, match="what came whole is kept: mend the cause and run the same command again"):
        bring(registry, tmp_path, name)
    registry.cut, registry.served = set(), []
    layout, _ = bring(registry, tmp_path, name)
    assert (registry.served.count(first), registry.served.count(second)) == (0, 1)
    assert blobs(layout)[second] == registry.blobs[second]


def test_a_layer_that_was_damaged_on_disk_comes_anew(registry: Registry, tmp_path: Path) -> None:
    name = registry.add("team/engine", [b"right" * 1000])
    layer = json.loads(registry.manifests[name.partition("@")[2]][1])["layers"][0]["digest"]
    layout, _ = bring(registry, tmp_path, name)
    (layout / "blobs" / layer.replace(":", "/")).write_bytes(b"x" * len(registry.blobs[layer]))
    layout, _ = bring(registry, tmp_path, name)
    assert blobs(layout)[layer] == registry.blobs[layer]


def test_an_image_that_is_no_longer_wanted_leaves_the_layout(registry: Registry, tmp_path: Path) -> None:
    old, new = registry.add("team/old", [b"old"]), registry.add("team/new", [b"new"])
    bring(registry, tmp_path, old)
    layout, _ = bring(registry, tmp_path, new)
    assert old.partition("@")[2] not in blobs(layout)
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_a_layout_of_this_machine_comes_before_the_network(registry: Registry, tmp_path: Path) -> None:
    name = registry.add("team/engine", [b"one"])
    (tmp_path / "first").mkdir()
    layout, _ = bring(registry, tmp_path / "first", name)
    registry.served.clear()
    image = find(registry, name, [layout], tmp_path)
    images.bring([image], tmp_path / "second", tmp_path, Hashes(tmp_path, tmp_path / "hashes.json"), print)
    assert blobs(tmp_path / "second") == blobs(layout)
    assert registry.served == []


def test_a_digest_that_no_source_has_is_refused_with_what_each_one_said(registry: Registry, tmp_path: Path) -> None:
    name = f"registry.example/team/engine@sha256:{'ab' * 32}"
    with pytest.raises(BundleError, match=rf"no source has the image {name}:\n.*{registry.prefix}.*manifest unknown"):
        find(registry, name, [], tmp_path)


def test_the_digest_of_a_list_over_platforms_is_refused(registry: Registry, tmp_path: Path) -> None:
    name = registry.publish("team/engine", LIST, {"schemaVersion": 2, "mediaType": LIST, "manifests": []})
    with pytest.raises(BundleError, match="give that of the entry whose platform is linux/amd64"):
        find(registry, name, [], tmp_path)


def test_a_layout_on_the_host_is_no_source_of_the_bundle(tmp_path: Path) -> None:
    source = OciLayout(kind="oci-layout", path="/root/images")
    name = f"registry.example/team/engine@sha256:{'ab' * 32}"
    assert images.origins(name, [source], [], tmp_path) == []
    with pytest.raises(BundleError, match="names no registry and no mirror, and no --images-from was given"):
        images.find(name, [])
