"""What a hub says about a model: its files with size, SHA-256 where known, and address."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from tandem.domain.weights import REVISION
from tandem.hostside.download import Net, Passing, Unavailable, ask, patiently, stream
from tandem.hostside.model_sources import listing, modelscope_file

INDEX: Final = "model.safetensors.index.json"
USUAL: Final = (
    "chat_template.jinja", "config.json", "generation_config.json", "LICENSE", "merges.txt", INDEX,
    "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "vocab.json",
)  # fmt: skip
"""A plain web server has no list of files: these are asked for, and those that the index names."""


@dataclass(frozen=True)
class Remote:
    """One file there. ``bytes`` and ``sha256`` are None where the hub does not say."""

    address: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Hub:
    """A model there, pinned to a commit."""

    revision: str
    files: Mapping[str, Remote]


def huggingface(net: Net, endpoint: str, repository: str, revision: str) -> Hub:
    """Raises Unavailable when the model is not there, asks for a login, or is listed in an unknown form."""
    answer = _json(net, f"{endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true")
    try:
        commit = str(answer["sha"])
        base = f"{endpoint}/{repository}/resolve/{commit}"
        files = {
            file["rfilename"]: Remote(
                f"{base}/{quote(file['rfilename'])}", file.get("size"), (file.get("lfs") or {}).get("sha256")
            )
            for file in answer["siblings"]
        }
    except (KeyError, TypeError, AttributeError):
        raise Unavailable("its answer lists no files in the form of a hub") from None
    return Hub(_pinned(commit), files)


def modelscope(net: Net, endpoint: str, repository: str, revision: str) -> Hub:
    """ModelScope names the commit that last changed each file: the newest of them has all files as listed.

    Raises Unavailable, also when that commit does not have them.
    """
    base = f"{endpoint}/api/v1/models/{repository}"
    listed = listing(net, base, revision)
    if not listed:
        raise Unavailable(f"revision {revision} has no files")
    commit = revision
    if not REVISION.fullmatch(revision):
        newest = max(listed.values(), key=lambda file: int(file.get("CommittedDate") or 0))
        commit = _pinned(str(newest.get("Revision")))
        pinned = listing(net, base, commit)
        if {name: pinned.get(name, {}).get("Sha256") for name in listed} != {
            name: file.get("Sha256") for name, file in listed.items()
        }:
            raise Unavailable(f"commit {commit} does not have the files of {revision}; give the commit by --revision")
    return Hub(
        commit,
        {
            name: Remote(modelscope_file(base, commit, name), file.get("Size"), file.get("Sha256") or None)
            for name, file in listed.items()
        },
    )


def web(net: Net, url: str, revision: str) -> Hub:
    """A plain web server: URL/REVISION/FILE. Raises Unavailable when it has no config.json."""
    base = f"{url}/{_pinned(revision)}"
    ask(net, f"{base}/config.json")
    names = [name for name in USUAL if _is_there(net, f"{base}/{name}")]
    if INDEX in names:
        names += sorted(set(_json(net, f"{base}/{INDEX}")["weight_map"].values()))
    return Hub(revision, {name: Remote(f"{base}/{quote(name)}") for name in names})


def _is_there(net: Net, address: str) -> bool:
    try:
        ask(net, address, first=1)
    except Unavailable as error:
        if str(error).startswith("HTTP 404"):
            return False
        raise
    return True


def measured(net: Net, file: Remote) -> Remote:
    """The file with its SHA-256 and size, downloaded for that and not kept."""

    def once() -> Remote:
        digest = hashlib.sha256()
        total = stream(net, file.address, digest.update)
        if file.bytes not in (None, total):
            raise Passing(f"{total} bytes came, the hub says {file.bytes}")
        return replace(file, bytes=total, sha256=digest.hexdigest())

    return patiently(net, file.address, once)


def tensor_bytes(net: Net, file: Remote) -> int:
    """The bytes of all tensors of a safetensors file, from its header alone."""
    (length,) = struct.unpack("<Q", ask(net, file.address, first=8))
    header = ask(net, file.address, first=8 + length)[8:]
    return sum_of_tensors(json.loads(header))


def sum_of_tensors(header: Mapping[str, Any]) -> int:
    return sum(
        one["data_offsets"][1] - one["data_offsets"][0] for name, one in header.items() if name != "__metadata__"
    )


def _json(net: Net, address: str) -> Any:
    try:
        return json.loads(ask(net, address))
    except ValueError:
        raise Unavailable("its answer is not JSON") from None


def _pinned(revision: str) -> str:
    if not REVISION.fullmatch(revision):
        raise Unavailable(f"revision {revision!r} is not a commit of 40 hexadecimal digits")
    return revision
