"""Runs on a host: makes an OCI layout with one image of one file. QUESTION: {"folder", "text": what the file says}.

Output: one JSON line {"digest": of the manifest, "layer": path of the layer's blob}.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile

MEDIA = "application/vnd.oci.image."


def add(folder: str, data: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{folder}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"mediaType": MEDIA + kind, "digest": f"sha256:{digest}", "size": len(data)}


def tar(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("says")
        entry.size = len(text.encode())
        archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def main(folder: str, text: str) -> None:
    os.makedirs(f"{folder}/blobs/sha256", exist_ok=True)
    plain = tar(text)
    layer = add(folder, gzip.compress(plain, mtime=0), "layer.v1.tar+gzip")
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]}
    config = add(folder, encode({"architecture": "amd64", "os": "linux", "rootfs": rootfs}), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config, "layers": [layer]}
    listed = add(folder, encode(manifest), "manifest.v1+json")
    for name, value in (
        ("index.json", {"schemaVersion": 2, "manifests": [listed]}),
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
    ):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(encode(value))
    blob = str(layer["digest"]).removeprefix("sha256:")
    print(json.dumps({"digest": listed["digest"], "layer": f"{folder}/blobs/sha256/{blob}"}))


main(**json.loads(QUESTION))  # type: ignore[name-defined]  # noqa: F821 - put before this text by tests.faults.onhost
