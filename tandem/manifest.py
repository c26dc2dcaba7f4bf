"""The manifest of a model: every file with size and SHA-256, and what its memory follows from.

By hand: `python -m tandem.manifest openai/gpt-oss-20b --output manifests/gpt-oss-20b.json`. The branch is resolved to
the commit that it names now, and that commit is what the manifest pins.
"""

import argparse
import hashlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tandem.config.manifest import Manifest
from tandem.config.weights import HuggingFaceSource, ModelScopeSource
from tandem.domain.weights import size
from tandem.hostside.download import Net, Unavailable, ask
from tandem.hostside.files import write_atomic
from tandem.hub import INDEX, Hub, Remote, huggingface, measured, modelscope, sum_of_tensors, tensor_bytes, web

COPIES: Final = ("original/", "metal/")
"""The same weights again in other formats, each about as large as those that an engine reads."""
OTHER_FORMATS: Final = (".bin", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth")
TOKENIZERS: Final = {"tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json"}
STALL_SECONDS: Final = 60.0


class ManifestError(Exception):
    """There is no manifest to be had. The message says why, and what to do."""


def left_out(name: str) -> bool:
    """No engine reads it: copies in other formats, the record of a verified folder, hidden files."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return hidden or name.startswith(COPIES) or name.endswith(OTHER_FORMATS) or name == "verified.json"


def of_folder(folder: Path, repository: str, revision: str) -> dict[str, Any]:
    """The manifest of the model in ``folder``, as ``tandem.config.manifest.Manifest`` reads it."""
    every = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = [name for name in every if not left_out(name)]
    return {
        "repository": repository,
        "revision": revision,
        "weight_bytes": _weight_bytes(folder),
        "config": json.loads((folder / "config.json").read_text()),
        "files": {name: _file(folder / name) for name in names},
    }


def of_hub(net: Net, hub: Hub, repository: str) -> dict[str, Any]:
    """The manifest of a model that a hub has. Raises Unavailable or ManifestError."""
    files = {name: file for name, file in sorted(hub.files.items()) if not left_out(name)}
    if "config.json" not in files:
        raise ManifestError(f"{repository} has no config.json: it is not a model that vLLM serves")
    known = {}
    for name, file in files.items():
        if file.sha256 is None or file.bytes is None:
            net.say(f"reading {name} for its SHA-256" + (f" ({size(file.bytes)})" if file.bytes else ""))
            known[name] = measured(net, file)
        else:
            known[name] = file
    return {
        "repository": repository,
        "revision": hub.revision,
        "weight_bytes": _remote_weight_bytes(net, known),
        "config": json.loads(ask(net, files["config.json"].address)),
        "files": {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in known.items()},
    }


def _remote_weight_bytes(net: Net, files: dict[str, Remote]) -> int:
    tensors = {name: file for name, file in files.items() if name.endswith(".safetensors")}
    if INDEX not in files:
        return sum(tensor_bytes(net, file) for file in tensors.values())
    index = json.loads(ask(net, files[INDEX].address))
    absent = sorted(set(index["weight_map"].values()) - tensors.keys())
    if absent:
        raise ManifestError(f"{INDEX} names files that are not there: {', '.join(absent)}")
    total = index.get("metadata", {}).get("total_size")
    return int(total) if total else sum(tensor_bytes(net, file) for file in tensors.values())


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _weight_bytes(folder: Path) -> int:
    """The bytes of all tensors, from the headers of the safetensors files."""
    return sum(_tensor_bytes(file) for file in folder.glob("*.safetensors"))


def _tensor_bytes(path: Path) -> int:
    """The bytes of all tensors of one safetensors file: an 8-byte length, a JSON header, then the tensors."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return sum_of_tensors(json.loads(file.read(length)))


def checked(found: dict[str, Any]) -> Manifest:
    """Raises ManifestError for a manifest that can't be right."""
    try:
        manifest = Manifest.model_validate(found)
    except ValidationError as error:
        problems = [f"{'/'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise ManifestError(f"the model can't be described: {'; '.join(problems)}") from None
    tensors = sum(file.bytes for name, file in manifest.files.items() if name.endswith(".safetensors"))
    if tensors < manifest.weight_bytes:
        raise ManifestError(
            f"the safetensors files have {tensors} bytes together, and their tensors {manifest.weight_bytes}: files "
            "are missing there"
        )
    if not TOKENIZERS & manifest.files.keys():
        raise ManifestError(f"it has no tokenizer ({', '.join(sorted(TOKENIZERS))}): no engine can start offline")
    return manifest


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tandem.manifest", description="Writes the manifest of a model.")
    parser.add_argument("repository", metavar="OWNER/NAME", help="the model, e.g. openai/gpt-oss-20b")
    parser.add_argument("--output", required=True, type=Path, help="the file to write, e.g. manifests/gpt-oss-20b.json")
    parser.add_argument("--revision", help="a commit or branch; default: the main branch as it is now")
    parser.add_argument("--kind", choices=("huggingface", "modelscope", "folder", "http"), default="huggingface")
    parser.add_argument("--endpoint", help="the hub, a mirror of it, or the web server: https://HOST[:PORT][/PATH]")
    parser.add_argument("--folder", type=Path, help="for --kind folder: the folder that holds config.json")
    found = parser.parse_args(words)
    if found.kind in ("folder", "http") and not found.revision:
        parser.error(f"--kind {found.kind} needs --revision: 40 hexadecimal digits that name what is there")
    if found.kind == "folder" and not found.folder:
        parser.error("--kind folder needs --folder")
    if found.kind == "http" and not found.endpoint:
        parser.error("--kind http needs --endpoint")
    return found


def _found(options: argparse.Namespace, net: Net) -> dict[str, Any]:
    endpoint = str(options.endpoint or "").rstrip("/")
    if options.kind == "folder":
        if not (options.folder / "config.json").is_file():
            raise ManifestError(f"{options.folder} has no config.json; --folder names the folder that holds it")
        return of_folder(options.folder, options.repository, options.revision)
    if options.kind == "http":
        hub = web(net, endpoint, options.revision)
    elif options.kind == "modelscope":
        endpoint = endpoint or ModelScopeSource.model_fields["endpoint"].default
        hub = modelscope(net, endpoint, options.repository, options.revision or "master")
    else:
        endpoint = endpoint or HuggingFaceSource.model_fields["endpoint"].default
        hub = huggingface(net, endpoint, options.repository, options.revision or "main")
    not_needed = [name for name in hub.files if left_out(name)]
    if not_needed:
        total = sum(hub.files[name].bytes or 0 for name in not_needed)
        net.say(
            f"left out: {len(not_needed)} files that no engine reads, {size(total)} ({', '.join(not_needed[:3])}...)"
        )
    return of_hub(net, hub, options.repository)


def main(words: list[str]) -> int:
    options = _arguments(words)
    net = Net(STALL_SECONDS, print)
    try:
        manifest = checked(_found(options, net))
        text = json.dumps(manifest.model_dump(), indent=1) + "\n"
        write_atomic(options.output, text, uid=os.geteuid(), gid=os.getegid())
    except (Unavailable, ManifestError) as error:
        where = options.folder or options.endpoint or options.kind
        print(f"no manifest of {options.repository} from {where}: {error}; nothing was written", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError) as error:
        print(f"no manifest of {options.repository}: {error}; nothing was written", file=sys.stderr)
        return 1
    total = sum(file.bytes for file in manifest.files.values())
    print(
        f"{manifest.repository} at {manifest.revision}: {len(manifest.files)} files, {size(total)}, of which "
        f"{size(manifest.weight_bytes)} are weights; written to {options.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
