"""The offline bundle: what goes in, what signs it, and what a host says of one that can't serve it."""

import copy
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tandem.bundle import main
from tandem.bundling import content, packages, signing
from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.bundling.wanted import Wanted, at, wanted
from tandem.config import Config, load
from tandem.config.gpu import Repository
from tandem.config.offline import offline
from tandem.domain.bundle import Asked, refusals
from tandem.hostside.observe_bundle import observe
from tandem.hostside.verify_bundle import verify
from tandem.mirrors import UNKNOWN, Mirrors, mirrors_here
from tandem.render.bundle import KEY, SOURCE, apt_options, render_bundle
from tandem.render.tree import File
from tests.unit.test_config import GOOD

ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
REPOSITORY = {"name": "cuda", "url": "https://mirror.test/cuda", "key": ARMOUR}
REVISION, SHA256 = "12" * 20, "34" * 32


def config(**changes: Any) -> Config:
    """A configuration without the example's zeros, with these sections changed."""
    text = json.dumps(GOOD).replace("registry.example", "registry.test").replace("0" * 64, "ab" * 32)
    data = {**json.loads(text.replace("0" * 40, REVISION)), **copy.deepcopy(changes)}
    return load(data, "gpu1")


def with_driver(**changes: Any) -> Config:
    return config(gpu={"driver_source": "nvidia", "repositories": [REPOSITORY], **changes})


# What goes in


def test_a_bundle_holds_the_releases_images_and_model_and_the_kernel_with_its_headers() -> None:
    one = wanted(config(), ["a"])
    assert {image.partition("@")[0] for image in one.images} == {"registry.test/vllm", "registry.test/webui"}
    assert list(one.models) == [REVISION]
    assert {"podman", "nginx", "skopeo", "linux-image-amd64", "linux-headers-amd64"} <= set(one.packages)


def test_extra_packages_and_those_of_the_command_line_go_in() -> None:
    assert {"htop", "tmux"} <= set(wanted(config(host={"extra_packages": ["htop"]}), ["a"], ["tmux"]).packages)


def test_the_driver_goes_in_with_compiler_toolkit_and_its_branch_pinned() -> None:
    one = wanted(with_driver(), ["a"])
    assert {"nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-container-toolkit-base", "dkms"} <= set(
        one.packages
    )
    assert "cuda-toolkit-13-0" not in one.packages
    assert one.optional == ("nvidia-driver-pinning-580",)
    assert "Pin: version 580.*\nPin-Priority: 1001" in one.preferences
    assert "cuda-toolkit-13-0" in wanted(with_driver(cuda_toolkit=True), ["a"]).packages


def test_a_driver_that_is_there_already_brings_no_package() -> None:
    one = wanted(config(gpu={"driver_source": "none", "container_toolkit": False}), ["a"])
    assert [name for name in one.packages if "nvidia" in name or name == "dkms"] == []
    assert one.preferences == ""


def test_releases_that_were_not_asked_for_are_named_as_left_out() -> None:
    releases = {**config().model_dump()["releases"], "b": config().model_dump()["releases"]["a"]}
    both = config(releases=json.loads(json.dumps(releases)))
    assert any(line.startswith("release b: not asked for") for line in wanted(both, ["a"]).left_out)
    assert not any(line.startswith("release") for line in wanted(both, ["a", "b"]).left_out)


def test_a_release_that_is_not_declared_is_refused() -> None:
    with pytest.raises(BundleError, match="--release z: it is not declared; give one of: a"):
        wanted(config(), ["z"])


def test_the_examples_digests_are_refused() -> None:
    with pytest.raises(BundleError, match="releases/a/image is still the example's"):
        wanted(load(GOOD, "gpu1"), ["a"])


def test_a_repository_can_have_another_address_on_this_machine() -> None:
    moved = at(wanted(with_driver(), ["a"]), {"cuda": "file:/srv/cuda"})
    assert [one.url for one in moved.repositories] == ["file:/srv/cuda"]
    with pytest.raises(BundleError, match="--repository cudo: gpu/repositories has no repository of that name"):
        at(wanted(with_driver(), ["a"]), {"cudo": "file:/srv/cuda"})


def test_debians_mirror_is_this_machines_own_when_it_runs_debian(tmp_path: Path) -> None:
    for system, expected in (("debian", Mirrors("http://m.test/debian", None)), ("ubuntu", UNKNOWN)):
        (tmp_path / "etc/apt").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc/os-release").write_text(f'ID={system}\nVERSION_CODENAME="bookworm"\n')
        (tmp_path / "etc/apt/sources.list").write_text("deb http://m.test/debian bookworm main\n")
        assert mirrors_here(tmp_path) == expected


# What a host makes of its configuration


def test_a_host_with_a_bundle_has_no_source_on_a_network_left() -> None:
    network = {"kind": "huggingface", "endpoint": "https://hub.test"}
    one = with_driver().model_dump()
    data = {**one, "weights": {"sources": [network]}, "bundle": {"path": "/mnt/b", "key": ARMOUR}}
    seen = offline(load(json.loads(json.dumps(data)), "gpu1"))
    assert [source.model_dump() for source in seen.runtime.image_sources] == [
        {"kind": "oci-layout", "path": "/mnt/b/images"}
    ]
    assert [source.model_dump() for source in seen.weights.sources] == [{"kind": "folder", "path": "/mnt/b/weights"}]
    assert seen.gpu.repositories == ()
    assert offline(seen) == seen


def test_a_host_without_a_bundle_keeps_its_sources_and_gets_no_file() -> None:
    one = with_driver()
    assert offline(one) is one
    assert (render_bundle(one).entries, apt_options(one)) == ({}, [])


def test_apt_gets_the_bundle_as_its_only_source_with_its_key() -> None:
    one = config(bundle={"path": "/mnt/b", "key": ARMOUR})
    tree = render_bundle(one).entries
    assert isinstance(source := tree[SOURCE], File)
    assert f"URIs: file:/mnt/b\nSuites: /\nSigned-By: {KEY}\n" in source.content
    assert tree[KEY] == File(ARMOUR)
    assert {f"Dir::Etc::SourceList={SOURCE}", "Dir::Etc::SourceParts=/dev/null"} <= set(apt_options(one))


# What a host says of a bundle

ASKED = Asked("/mnt/b", "a", ["podman"], ["r.test/x@sha256:1"], {REVISION: {"config.json": SHA256}})
MANIFEST = {
    "schema": 1,
    "system": "debian 13",
    "releases": ["a"],
    "packages": {"podman": "5.4.2"},
    "images": ["r.test/x@sha256:1"],
    "files": {f"weights/{REVISION}/config.json": {"bytes": 1, "sha256": SHA256}},
}
GOOD_BUNDLE: dict[str, Any] = {
    "folder": True, "absent": [], "signature": "", "damaged": [], "missing": [], "unverified_bytes": 0,
    "manifest": MANIFEST,
}  # fmt: skip


def test_a_bundle_that_has_everything_is_taken() -> None:
    assert refusals(ASKED, GOOD_BUNDLE) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"folder": False}, "there is no folder /mnt/b on the host (bundle/path): mount its disk"),
        ({"absent": ["InRelease"]}, "/mnt/b is not complete (InRelease is missing): run `make bundle` again"),
        ({"signature": "Missing key 1"}, "does not fit the key of bundle/key (apt says: Missing key 1)"),
        ({"damaged": ["Packages"]}, "/mnt/b is damaged (Packages is not what was signed)"),
        ({"missing": ["a", "b", "c", "d"]}, "is not complete (a, b, c and 1 more is missing or cut short)"),
        ({"manifest": {**MANIFEST, "schema": 2}}, "was made by another version of Tandem (schema 2, debian 13)"),
        ({"manifest": {**MANIFEST, "images": []}}, "was made for release a and lacks the image r.test/x@sha256:1"),
        ({"manifest": {**MANIFEST, "files": {}}}, f"was made for release a and lacks weights/{REVISION}/config.json"),
        ({"manifest": {**MANIFEST, "packages": {}}}, "/mnt/b lacks the package podman: run `make bundle` again"),
    ],
)
def test_a_bundle_that_can_not_serve_the_host_is_refused(found: dict[str, Any], sentence: str) -> None:
    (said,) = refusals(ASKED, {**GOOD_BUNDLE, **found})
    assert sentence in said


# A real signed bundle of one package, read by the real apt


@dataclass(frozen=True)
class Made:
    folder: Path
    key: signing.Key

    @property
    def public(self) -> str:
        return self.key.public()

    def observed(self, key: str = "") -> dict[str, Any]:
        return observe(str(self.folder), key or self.public)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[signing.Key, signing.Key]]:
    made = signing.Key(tmp_path_factory.mktemp("a")), signing.Key(tmp_path_factory.mktemp("b"))
    for key in made:
        assert key.ensure()
        assert not key.ensure()
    yield made
    for key in made:
        key.close()


@pytest.fixture
def bundle(tmp_path: Path, keys: tuple[signing.Key, signing.Key]) -> Made:
    """A bundle of two package files, one with an epoch in its version, that apt took from another repository."""
    source, folder = tmp_path / "source", tmp_path / "bundle"
    for name, version in (("one", "2:1.0-1"), ("two", "1.0")):
        build(tmp_path / name, source, name, version)
    (source / "Packages").write_text("\n".join(described(path) for path in sorted(source.glob("*.deb"))))
    (source / "MANIFEST.json").write_text("{}")
    key = keys[0]
    signing.write(source / "InRelease", key.sign(signing.release_text(source, datetime.now(UTC))))
    repository = Repository(name="source", url=f"file:{source}", key=key.public())
    apt = packages.Apt(tmp_path / "apt", Mirrors(None, None), [repository])
    apt.update()
    assert apt.known(["two", "three"]) == ["two"]
    debs, hashes = apt.closure(["one"]), Hashes(folder, tmp_path / "hashes.json")
    apt.download(["one"], debs, folder / "packages", hashes, lambda _line: None)
    want = replace(EMPTY, packages=("one",))
    files = content.files(folder, want, debs)
    made = content.manifest(folder, want, files, apt.index(debs), hashes, datetime.now(UTC))
    signing.write(folder / "Packages", made.packages)
    signing.write(folder / "MANIFEST.json", made.text)
    signing.write(folder / "InRelease", key.sign(signing.release_text(folder, datetime.now(UTC))))
    return Made(folder, key)


def described(path: Path) -> str:
    """The stanza of a package file in a repository's index."""
    control = subprocess.run(["dpkg-deb", "--field", str(path)], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{control}Filename: {path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


EMPTY = Wanted((), (), "", (), (), {}, ("a",), ())


def build(work: Path, into: Path, name: str, version: str) -> None:
    """A package that depends on the other one."""
    (work / "DEBIAN").mkdir(parents=True)
    depends = "Depends: two\n" if name == "one" else ""
    (work / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@mail.test>\n{depends}"
        "Priority: optional\nDescription: of a test\n"
    )
    into.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--build", str(work), str(into)], check=True, capture_output=True)


def test_what_a_package_depends_on_comes_too_and_apt_accepts_the_bundle(bundle: Made) -> None:
    assert sorted(path.name for path in (bundle.folder / "packages").iterdir()) == [
        "one_2%3a1.0-1_all.deb",
        "two_1.0_all.deb",
    ]
    seen = bundle.observed()
    assert (seen["signature"], seen["damaged"], seen["missing"]) == ("", [], [])
    assert seen["manifest"]["packages"] == {"one": "2:1.0-1", "two": "1.0"}
    assert seen["unverified_bytes"] == sum(path.stat().st_size for path in (bundle.folder / "packages").iterdir())


def test_a_bundle_of_another_key_is_not_accepted(bundle: Made, keys: tuple[signing.Key, signing.Key]) -> None:
    assert bundle.observed(keys[1].public())["signature"] != ""


@pytest.mark.parametrize("name", ["Packages", "MANIFEST.json"])
def test_a_signed_file_that_was_changed_is_found(bundle: Made, name: str) -> None:
    (bundle.folder / name).write_text((bundle.folder / name).read_text() + "\n")
    assert bundle.observed()["damaged"] == [name]


def test_a_bundle_without_its_last_file_is_not_complete(bundle: Made) -> None:
    (bundle.folder / "InRelease").unlink()
    assert bundle.observed()["absent"] == ["InRelease"]
    assert not content.complete(bundle.folder, EMPTY.inputs, bundle.key)


def test_a_file_that_was_cut_short_is_found(bundle: Made) -> None:
    path = bundle.folder / "packages/two_1.0_all.deb"
    path.write_bytes(path.read_bytes()[:-1])
    assert bundle.observed()["missing"] == ["packages/two_1.0_all.deb"]


def test_a_complete_bundle_is_complete_for_the_same_inputs_only(bundle: Made) -> None:
    want = replace(EMPTY, packages=("one",))
    assert content.complete(bundle.folder, want.inputs, bundle.key)
    assert not content.complete(bundle.folder, EMPTY.inputs, bundle.key)


def test_every_file_is_hashed_once_and_again_when_it_was_changed(
    bundle: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = str(tmp_path / "state/bundle.json")
    verify(str(bundle.folder), record)
    verify(str(bundle.folder), record)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hashing")]
    assert [line.partition(" files")[0] for line in said] == ["hashing 2", "hashing 0"]
    path = bundle.folder / "packages/two_1.0_all.deb"
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(SystemExit, match=r"is damaged: packages/two_1.0_all.deb .*nothing was changed on this host"):
        verify(str(bundle.folder), record)


def test_a_package_that_no_repository_has_is_named(bundle: Made, tmp_path: Path) -> None:
    repository = Repository(name="b", url=f"file:{bundle.folder}", key=bundle.public)
    apt = packages.Apt(tmp_path / "apt2", Mirrors(None, None), [repository])
    apt.update()
    with pytest.raises(BundleError, match="Unable to locate package three"):
        apt.closure(["three"])


def test_a_repository_that_another_key_signed_is_refused(
    bundle: Made, keys: tuple[signing.Key, signing.Key], tmp_path: Path
) -> None:
    repository = Repository(name="b", url=f"file:{bundle.folder}", key=keys[1].public())
    with pytest.raises(BundleError, match="apt-get failed"):
        packages.Apt(tmp_path / "apt2", Mirrors(None, None), [repository]).update()


def test_a_package_that_is_no_longer_wanted_or_was_damaged_goes(bundle: Made, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "mirror")
    repository = Repository(name="b", url=f"file:{tmp_path / 'mirror'}", key=bundle.public)
    apt = packages.Apt(tmp_path / "apt2", Mirrors(None, None), [repository])
    apt.update()
    place = bundle.folder / "packages"
    right = (place / "two_1.0_all.deb").read_bytes()
    (place / "two_1.0_all.deb").write_bytes(b"x" * len(right))
    hashes = Hashes(bundle.folder, tmp_path / "other.json")
    apt.download(["two"], apt.closure(["two"]), place, hashes, lambda _line: None)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"two_1.0_all.deb": right}


def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/photo.jpg").write_text("mine")
    (tmp_path / "group_data").mkdir()
    (tmp_path / "inventory.py").write_text(f"hosts = {[('gpu1', config().model_dump(mode='json'))]!r}\n")
    words = ["--inventory", str(tmp_path / "inventory.py"), "--host", "gpu1", "--to", str(tmp_path / "bundle")]
    assert main([*words, "--debian-mirror", "http://m.test", "--key-folder", str(tmp_path / "k")]) == 1
    assert "holds other files (photo.jpg); give an empty folder. Nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--inventory": "nowhere.py"}, "--inventory nowhere.py: no such file; nothing was written"),
        ({"--host": "gpu9"}, "--host gpu9: "),
    ],
)
def test_an_inventory_or_host_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], sentence: str
) -> None:
    (tmp_path / "inventory.py").write_text("hosts = ['gpu1']\n")
    options = {"--inventory": str(tmp_path / "inventory.py"), "--host": "gpu1", "--to": str(tmp_path / "b"), **changes}
    assert main([word for option in options.items() for word in option]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
