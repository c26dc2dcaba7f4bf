"""Tree + what a host has -> the plan that makes them equal. Pure."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tandem.render.tree import Directory, Entry, File, Generated, Group, Link, Tree

Seen = Mapping[str, Any]
"""What ``tandem.hostside.observe_tree`` says of one path."""


@dataclass
class Plan:
    """What has to be written, in the form that ``tandem.hostside.apply_tree`` reads."""

    directories: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    modes: list[dict[str, Any]] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    manifest_during: list[str] | None = None
    manifest_after: list[str] | None = None
    sentences: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.sentences

    def payload(self) -> dict[str, Any]:
        return dict(vars(self))


def question(tree: Tree) -> dict[str, list[str]]:
    """What to ask ``observe_tree`` for this tree."""
    return {
        "paths": sorted(tree.entries),
        "generated": sorted(path for path, entry in tree.entries.items() if isinstance(entry, Generated)),
        "groups": sorted(group.base for group in tree.groups),
    }


def plan(tree: Tree, seen: Mapping[str, Any], prune: Sequence[str] = ("/",), keep: Collection[str] = ()) -> Plan:
    """The changes that turn ``seen`` into ``tree``.

    Owned paths below ``prune`` that ``tree`` does not name are removed; () for applying a part of the whole tree.
    ``keep``: patterns of owned paths that are left alone in any case.
    """
    result = Plan()
    for path, entry in sorted(tree.entries.items()):
        _compare(result, path, entry, seen["entries"].get(path))
    for group in tree.groups:
        _compare_group(result, group, seen["groups"][group.base])
    wanted = set(tree.entries) | {group.current for group in tree.groups}
    owned = set(seen["owned"])
    wanted |= {path for path in owned if any(fnmatchcase(path, pattern) for pattern in keep)}
    for path in sorted(owned - wanted, reverse=True):
        if path.startswith(tuple(prune)):
            result.remove.append(path)
            result.sentences.append(f"removed {path}: no longer part of this host")
    after = (wanted | owned) - set(result.remove)
    if after != owned:
        result.manifest_during = sorted(wanted | owned)
        result.manifest_after = sorted(after)
        if result.empty:
            result.sentences.append("recorded which files Tandem owns")
    return result


def _compare(result: Plan, path: str, entry: Entry, seen: Seen | None) -> None:
    if isinstance(entry, Link):
        if seen is None or seen["kind"] != "link" or seen["target"] != entry.target:
            result.links.append({"path": path, "target": entry.target})
            result.sentences.append(f"linked {path} to {entry.target}")
        return
    owner = {"path": path, "mode": entry.mode, "uid": entry.uid, "gid": entry.gid}
    kind = "directory" if isinstance(entry, Directory) else "file"
    if seen is None or seen["kind"] != kind:
        if isinstance(entry, Generated):
            result.missing.append(path)
            result.sentences.append(f"missed the secret {path}")
            return
        if isinstance(entry, Directory):
            result.directories.append(owner)
        else:
            result.files.append({**owner, "content": entry.content})
        result.sentences.append(f"made {path}" if seen is None else f"replaced {path} (it was a {seen['kind']})")
    elif isinstance(entry, File) and seen["sha256"] != _sha256(entry.content):
        result.files.append({**owner, "content": entry.content})
        result.sentences.append(f"wrote {path}")
    elif (seen["mode"], seen["uid"], seen["gid"]) != (entry.mode, entry.uid, entry.gid):
        (result.directories if isinstance(entry, Directory) else result.modes).append(owner)
        was = f"{seen['mode']} {seen['uid']}:{seen['gid']}"
        result.sentences.append(f"set {path} to {entry.mode} {entry.uid}:{entry.gid} (was {was})")


def _compare_group(result: Plan, group: Group, seen: Seen) -> None:
    files = {f"{group.digest}/{name}": {"path": name, **vars(file)} for name, file in group.files.items()}
    wrong = [name for name, file in files.items() if not _same(file, seen["files"].get(name))]
    extra = sorted(seen["files"].keys() - files.keys())
    if not wrong and not extra and seen["current"] == group.digest:
        return
    result.groups.append(
        {
            "base": group.base,
            "root": group.root,
            "files": [files[name] for name in wrong],
            "extra": [name for name in extra if name.startswith(f"{group.digest}/")],
            "validate": list(group.validate),
        }
    )
    result.sentences.extend(_describe_group(group, seen, wrong, extra))


def _describe_group(group: Group, seen: Seen, wrong: list[str], extra: list[str]) -> Iterator[str]:
    if seen["current"] == group.digest:
        yield from (f"repaired {group.base}/{name}" for name in wrong)
        yield from (f"removed {group.base}/{name}" for name in extra)
    else:
        yield f"made {group.base} current at {group.digest}" + (f" (was {seen['current']})" if seen["current"] else "")


def _same(file: Mapping[str, Any], seen: Seen | None) -> bool:
    return (
        seen is not None
        and seen["kind"] == "file"
        and seen["sha256"] == _sha256(file["content"])
        and (seen["mode"], seen["uid"], seen["gid"]) == (file["mode"], file["uid"], file["gid"])
    )


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
