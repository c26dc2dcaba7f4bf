"""Where model files come from: each kind says which files it has and completes a partial copy of one.

Sources are given as ``tandem.config.weights`` dumps them. What a source says of a file is never trusted: the caller
checks size and SHA-256 of what came.
"""

import json
import lzma
import os
import tarfile
import urllib.parse
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tandem.domain.weights import Wanted
from tandem.hostside.download import CHUNK, Net, Stopped, Unavailable, Unreachable, ask, download

BRANCH = "master"
"""ModelScope's main branch: its commits are others than the hub's, so the same files are found by their hash."""


class Source(Protocol):
    label: str
    at_once: int | None
    """How many files may be brought at the same time; None: as many as configured."""

    def find(self, files: Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
        """The files to bring from here, in this order; why not the others. Raises Unavailable when there is none."""

    def bring(self, file: Wanted, part: str) -> None:
        """Completes ``part``. Raises Unavailable."""


def made(source: dict[str, Any], repository: str, revision: str, net: Net) -> Source:
    kind = source["kind"]
    if kind == "folder":
        return Folder(f"{source['path']}/{revision}", net)
    if kind == "archive":
        return Archive(source["path"], net)
    if kind == "http":
        return Web(source["url"], f"{source['url']}/{revision}", net)
    if kind == "huggingface":
        return Web(source["endpoint"], f"{source['endpoint']}/{repository}/resolve/{revision}", net)
    if kind == "modelscope":
        return ModelScope(source["endpoint"], source.get("repository") or repository, revision, net)
    raise ValueError(f"sources of kind {kind!r} are not known")


def copy(stream: Any, file: Wanted, part: str, net: Net) -> None:
    """Goes on with ``part`` from a local file."""
    have = os.path.getsize(part)
    stream.seek(have)
    with open(part, "ab") as target:
        while have < file.bytes and (chunk := stream.read(min(CHUNK, file.bytes - have))):
            if net.stop.is_set():
                raise Stopped
            target.write(chunk)
            have += len(chunk)
            net.came(len(chunk))
    if have < file.bytes:
        raise Unavailable(f"it ends after {have} of {file.bytes} bytes")


class Folder:
    at_once: int | None = None

    def __init__(self, path: str, net: Net) -> None:
        self.label, self.path, self.net = path, path, net

    def find(self, files: Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
        return _split(files, self._why_not)

    def _why_not(self, file: Wanted) -> str | None:
        path = f"{self.path}/{file.name}"
        if not os.path.isfile(path):
            return "it is not there"
        there = os.path.getsize(path)
        return None if there == file.bytes else f"it has {there} bytes there, the manifest says {file.bytes}"

    def bring(self, file: Wanted, part: str) -> None:
        try:
            with open(f"{self.path}/{file.name}", "rb") as stream:
                copy(stream, file, part, self.net)
        except FileNotFoundError as error:
            raise Unavailable("it is not there any more") from error


class Archive:
    """One pass through the archive: files are brought in its order."""

    at_once: int | None = 1

    def __init__(self, path: str, net: Net) -> None:
        self.label, self.path, self.net = path, path, net
        self.members: dict[str, tarfile.TarInfo] = {}

    def find(self, files: Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
        try:
            self.tar = tarfile.open(self.path)  # noqa: SIM115 - read until the last file was brought
            self.net.say(f"reading the list of files in {self.path}")
            members = {member.name.removeprefix("./"): member for member in self.tar if member.isreg()}
        except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
            raise Unreachable(f"it can't be read ({getattr(error, 'strerror', None) or error})") from None
        tops = {"", *(f"{name.split('/')[0]}/" for name in members if "/" in name)}
        top = max(sorted(tops), key=lambda one: sum(f"{one}{file.name}" in members for file in files))
        self.members = {file.name: members[f"{top}{file.name}"] for file in files if f"{top}{file.name}" in members}
        found, refused = _split(files, self._why_not)
        return sorted(found, key=lambda file: self.members[file.name].offset_data), refused

    def _why_not(self, file: Wanted) -> str | None:
        member = self.members.get(file.name)
        if member is None:
            return "it is not in there"
        return None if member.size == file.bytes else f"it has {member.size} bytes, the manifest says {file.bytes}"

    def bring(self, file: Wanted, part: str) -> None:
        try:
            stream = self.tar.extractfile(self.members[file.name])
            copy(stream, file, part, self.net)
        except (EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
            raise Unreachable(f"it is damaged ({error})") from None


class Web:
    """A plain web server, or a hub that serves REPOSITORY/resolve/REVISION/FILE."""

    at_once: int | None = None

    def __init__(self, label: str, base: str, net: Net) -> None:
        self.label, self.base, self.net = label, base, net

    def find(self, files: Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
        return list(files), {}

    def bring(self, file: Wanted, part: str) -> None:
        download(self.net, f"{self.base}/{urllib.parse.quote(file.name)}", file, part)


class ModelScope:
    at_once: int | None = None

    def __init__(self, endpoint: str, repository: str, revision: str, net: Net) -> None:
        self.label, self.net, self.revision = endpoint, net, revision
        self.base = f"{endpoint}/api/v1/models/{repository}"

    def find(self, files: Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
        """Its own listing has the hashes: a branch serves as well as a commit when they agree."""
        listed: dict[str, dict[str, Any]] = {}
        for revision in (self.revision, BRANCH):
            try:
                listed = listing(self.net, self.base, revision)
            except Unreachable:
                raise
            except Unavailable:
                if revision == BRANCH:
                    raise
            else:
                self.revision = revision
                break
        return _split(files, lambda file: _other(file, listed.get(file.name)))

    def bring(self, file: Wanted, part: str) -> None:
        download(self.net, modelscope_file(self.base, self.revision, file.name), file, part)


def modelscope_file(base: str, revision: str, name: str) -> str:
    return f"{base}/repo?{urllib.parse.urlencode({'Revision': revision, 'FilePath': name})}"


def listing(net: Net, base: str, revision: str) -> dict[str, dict[str, Any]]:
    """ModelScope's list of files, by path: Size, Sha256, Revision, CommittedDate."""
    query = urllib.parse.urlencode({"Revision": revision, "Recursive": "True"})
    text = ask(net, f"{base}/repo/files?{query}")
    try:
        answer = json.loads(text)
        return {file["Path"]: file for file in answer["Data"]["Files"] if file["Type"] == "blob"}
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"revision {revision}: its list of files can't be read: {text[:80]!r}") from None


def _other(file: Wanted, listed: dict[str, Any] | None) -> str | None:
    if listed is None:
        return "it is not in its list of files"
    if listed.get("Size") != file.bytes:
        return f"it has {listed.get('Size')} bytes there, the manifest says {file.bytes}"
    return None if listed.get("Sha256") in (None, "", file.sha256) else f"it is another one there: {listed['Sha256']}"


def _split(files: Sequence[Wanted], why_not: Callable[[Wanted], str | None]) -> tuple[list[Wanted], dict[str, str]]:
    reasons = {file.name: why_not(file) for file in files}
    return [file for file in files if reasons[file.name] is None], {
        name: reason for name, reason in reasons.items() if reason is not None
    }
