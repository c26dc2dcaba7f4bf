"""The images: one OCI layout for all of them, every digest as the registry has it, layers shared.

skopeo brings the layers, and skips those that are there. Manifests and configurations are stored as they were
published, also in Docker's own form, which skopeo alone would convert, and give another digest by that.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.bundling.running import LAST_LINES, Say, run_watched, size_text
from tandem.config.runtime import ImageSource, Mirror, OciLayout
from tandem.hostside.fetch_image import mirrored

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
OCI = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Origin:
    """Where one image can be read: skopeo's name for it and skopeo's options, or an OCI layout of this machine."""

    place: str
    options: tuple[str, ...] = ()
    layout: Path | None = None


@dataclass(frozen=True)
class Image:
    """One image with its manifest and configuration as they were published."""

    name: str
    origin: Origin
    manifest: bytes
    config: bytes

    @property
    def digest(self) -> str:
        return self.name.partition("@")[2]

    @property
    def parsed(self) -> dict[str, Any]:
        return dict(json.loads(self.manifest))

    @property
    def layers(self) -> dict[str, int]:
        """{digest: bytes}"""
        return {one["digest"]: int(one["size"]) for one in self.parsed["layers"]}


def origins(image: str, sources: Sequence[ImageSource], local: Sequence[Path], scratch: Path) -> list[Origin]:
    """Where to look for ``image``, in order: folders of this machine, then the configured registries and mirrors."""
    found = []
    digest = image.partition("@")[2]
    for folder in local:
        if (folder / "index.json").exists():
            if _blob(folder, digest).exists():
                found.append(Origin(str(folder), layout=folder))
        else:
            found.append(Origin(f"containers-storage:[overlay@{folder}+{scratch}/run]{image}"))
    for source in sources:
        if isinstance(source, OciLayout):
            continue  # a folder on the host
        origin = mirrored(image, source.prefix) if isinstance(source, Mirror) else image
        found.append(Origin(f"docker://{origin}", (f"--tls-verify={'false' if source.insecure else 'true'}",)))
    return found


def find(image: str, places: Sequence[Origin]) -> Image:
    """The image from the first place that has it. BundleError says what each one answered."""
    said = []
    for origin in places:
        try:
            return _checked(image, origin, _read(origin, image.partition("@")[2], "--raw"))
        except BundleError as error:
            said.append(f"  {origin.place.partition('@sha256')[0]}: {error}")
    raise BundleError(
        "\n".join(
            [
                f"no source has the image {image}:",
                *(said or ["  runtime/image_sources names no registry and no mirror, and no --images-from was given"]),
                "the bundle is not complete: check the digest in the release and runtime/image_sources",
            ]
        )
    )


def _checked(image: str, origin: Origin, manifest: bytes) -> Image:
    digest = image.partition("@")[2]
    seen = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    if seen != digest:
        raise BundleError(f"it has {seen}")
    parsed = json.loads(manifest)
    if parsed.get("mediaType") in INDEXES or "manifests" in parsed:
        raise BundleError(
            "the digest is of the list over all platforms; give that of the entry whose platform is linux/amd64"
        )
    named = [parsed["config"]["digest"], *(layer["digest"] for layer in parsed["layers"])]
    if not all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in named):
        raise BundleError("its manifest names a digest that is none")
    config = _read(origin, parsed["config"]["digest"], "--config", "--raw")
    if f"sha256:{hashlib.sha256(config).hexdigest()}" != parsed["config"]["digest"]:
        raise BundleError("its configuration does not have the digest that its manifest names")
    return Image(image, origin, manifest, config)


def _read(origin: Origin, digest: str, *options: str) -> bytes:
    """A manifest or configuration as it was published."""
    if origin.layout:
        return _blob(origin.layout, digest).read_bytes()
    done = subprocess.run(
        ["skopeo", "inspect", *options, *origin.options, origin.place], capture_output=True, check=False
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        reason = lines[-1] if lines else "no reason given"
        found = re.search(r'msg="(.*)"$', reason)
        raise BundleError(found[1].replace('\\"', "'") if found else reason)
    return done.stdout


def missing_bytes(images: Sequence[Image], layout: Path) -> int:
    """Bytes of the layers that the layout does not have yet, each counted once."""
    layers = {digest: size for image in images for digest, size in image.layers.items()}
    return sum(size for digest, size in layers.items() if not _blob(layout, digest).exists())


def bring(images: Sequence[Image], layout: Path, scratch: Path, hashes: Hashes, say: Say) -> None:
    """Makes the layout hold exactly these images. A layer that came whole stays after an interruption."""
    (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    for image in images:
        _drop_damaged(image, layout, hashes)
        wanted_bytes = missing_bytes([image], layout)
        if wanted_bytes:
            say(f"image {image.name}: {size_text(wanted_bytes)}")
            _copy(image, layout, scratch, wanted_bytes, say)
        absent = [digest for digest in image.layers if not _blob(layout, digest).exists()]
        if absent:
            raise BundleError(
                f"the image {image.name} lost the digest of its layer {absent[0]} on the way: its layers are not "
                "compressed in its registry; publish it there by: skopeo copy --preserve-digests. "
                "The bundle is not complete"
            )
    _write_index(images, layout)
    _drop_damaged_or_raise(images, layout, hashes)


def _copy(image: Image, layout: Path, scratch: Path, wanted_bytes: int, say: Say) -> None:
    """``--preserve-digests`` where the layout can hold the manifest as it is; else only the layers are of use."""
    if image.origin.layout:
        for digest in image.layers:
            if not _blob(layout, digest).exists():
                new = _blob(layout, digest).with_suffix(".new")
                shutil.copyfile(_blob(image.origin.layout, digest), new)
                new.replace(_blob(layout, digest))
        return
    keep = ["--preserve-digests"] if image.parsed.get("mediaType", OCI) == OCI else []
    source = [f"--src-{option.removeprefix('--')}" for option in image.origin.options]
    command = ["skopeo", f"--tmpdir={scratch}", "copy", "--quiet", *keep, *source, image.origin.place]
    run_watched([*command, f"oci:{layout}:incoming"], layout, wanted_bytes, say)


def _write_index(images: Sequence[Image], layout: Path) -> None:
    entries, reachable = [], set()
    for image in images:
        for blob in (image.manifest, image.config):
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            if not _blob(layout, digest).exists():
                _write(_blob(layout, digest), blob)
            reachable.add(digest)
        reachable |= image.layers.keys()
        entries.append(
            {
                "mediaType": image.parsed.get("mediaType", OCI),
                "digest": image.digest,
                "size": len(image.manifest),
                "annotations": {"org.opencontainers.image.ref.name": image.name},
            }
        )
    index = {"schemaVersion": 2, "manifests": entries}
    _write(layout / "index.json", json.dumps(index, indent=1).encode())
    _write(layout / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    for path in (layout / "blobs/sha256").iterdir():
        if f"sha256:{path.name}" not in reachable:
            path.unlink()
    for path in layout.iterdir():  # what an interrupted skopeo left
        if path.name not in ("blobs", "index.json", "oci-layout"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _drop_damaged(image: Image, layout: Path, hashes: Hashes) -> list[str]:
    """skopeo takes a layer that is there for right: one of another hash must go first."""
    wrong = []
    for digest in [image.digest, image.parsed["config"]["digest"], *image.layers]:
        path = _blob(layout, digest)
        if path.exists() and f"sha256:{hashes.sha256(path)}" != digest:
            path.unlink()
            wrong.append(digest)
    return wrong


def _drop_damaged_or_raise(images: Sequence[Image], layout: Path, hashes: Hashes) -> None:
    for image in images:
        if wrong := _drop_damaged(image, layout, hashes):
            raise BundleError(f"{wrong[0]} of {image.name} came damaged; the bundle is not complete: run again")


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
