"""The file tree, really applied in a temporary folder: observe, plan, apply, and the same again."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tandem.hostside import apply_tree, observe_tree
from tandem.render.changes import Plan, plan, question
from tandem.render.tree import Directory, Entry, File, Generated, Group, Link, Tree

OWNER = {"uid": os.getuid(), "gid": os.getgid()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    manifest = str(tmp_path / "state/manifest.json")
    for module in (apply_tree, observe_tree):
        monkeypatch.setattr(module, "MANIFEST", manifest)
    # The manifest belongs to root on a host; here to whoever runs the test.
    monkeypatch.setattr(apply_tree, "write_manifest", lambda paths: _manifest(manifest, paths))
    return tmp_path


def _manifest(path: str, paths: list[str]) -> None:
    apply_tree.write_file(path, json.dumps({"schema": 1, "paths": sorted(paths)}), "0644", **OWNER)


def file(content: str, mode: str = "0644") -> File:
    return File(content, mode, **OWNER)


def observe(tree: Tree) -> dict[str, Any]:
    asked = question(tree)
    entries = {path: observe_tree.see(path, path not in asked["generated"]) for path in asked["paths"]}
    return {
        "entries": {path: seen for path, seen in entries.items() if seen},
        "groups": {base: observe_tree.see_group(base) for base in asked["groups"]},
        "owned": observe_tree.owned(),
    }


def converge(tree: Tree, **options: Any) -> Plan:
    """Applies ``tree`` twice; the second time nothing may be left to do. Answers the first plan."""
    first = plan(tree, observe(tree), **options)
    apply_tree.apply(json.loads(json.dumps(first.payload())))
    second = plan(tree, observe(tree), **options)
    assert second.sentences == []
    return first


def example(place: Path) -> Tree:
    entries: dict[str, Entry] = {
        f"{place}/etc/unit.service": file("[Unit]\n"),
        f"{place}/etc/private": file("x\n", "0600"),
        f"{place}/etc/mask": Link("/dev/null"),
        f"{place}/data": Directory("0700", **OWNER),
    }
    return Tree(entries, (Group(f"{place}/edge", {"nginx.conf": file("a;\n"), "sub/b.conf": file("b;\n")}),))


def test_a_fresh_host_gets_everything_with_exact_modes(place: Path) -> None:
    converge(example(place))
    assert (place / "etc/unit.service").read_text() == "[Unit]\n"
    assert stat.S_IMODE((place / "etc/private").stat().st_mode) == 0o600
    assert os.readlink(place / "etc/mask") == "/dev/null"
    assert stat.S_IMODE((place / "data").stat().st_mode) == 0o700
    assert (place / "edge/current/sub/b.conf").read_text() == "b;\n"


DAMAGES = {
    "content": lambda place: (place / "etc/unit.service").write_text("[Unit]\nDescription=by hand\n"),
    "mode": lambda place: (place / "etc/private").chmod(0o644),
    "link": lambda place: ((place / "etc/mask").unlink(), (place / "etc/mask").symlink_to("/dev/zero")),
    "link became a file": lambda place: ((place / "etc/mask").unlink(), (place / "etc/mask").write_text("")),
    "removed file": lambda place: (place / "etc/unit.service").unlink(),
    "directory mode": lambda place: (place / "data").chmod(0o755),
    "file in a group": lambda place: (place / "edge/current/sub/b.conf").write_text("by hand;\n"),
    "group link": lambda place: ((place / "edge/current").unlink(), (place / "edge/current").symlink_to("other")),
    "extra file in a group": lambda place: (place / "edge/current/extra.conf").write_text("by hand;\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_thing_changed_by_hand_is_the_one_thing_repaired(place: Path, damage: str) -> None:
    tree = example(place)
    converge(tree)
    before = observe(tree)
    DAMAGES[damage](place)
    changes = converge(tree)
    assert len(changes.sentences) == 1
    assert observe(tree) == before


def test_an_owned_file_that_is_no_longer_rendered_is_removed_and_others_stay(place: Path) -> None:
    tree = example(place)
    converge(tree)
    (place / "etc/of-somebody-else").write_text("mine\n")
    smaller = Tree(
        {path: entry for path, entry in tree.entries.items() if not path.endswith("unit.service")}, tree.groups
    )
    changes = converge(smaller)
    assert changes.remove == [f"{place}/etc/unit.service"]
    assert not (place / "etc/unit.service").exists()
    assert (place / "etc/of-somebody-else").read_text() == "mine\n"


def test_a_directory_that_holds_others_files_is_not_removed(place: Path) -> None:
    converge(example(place))
    (place / "data/chats.db").write_text("precious")
    converge(Tree())
    assert (place / "data/chats.db").read_text() == "precious"


def test_a_part_of_the_tree_and_kept_paths_prune_nothing(place: Path) -> None:
    tree = example(place)
    converge(tree)
    unit = f"{place}/etc/unit.service"
    assert converge(Tree({f"{place}/data": tree.entries[f"{place}/data"]}), prune=()).remove == []
    rest = Tree({path: entry for path, entry in tree.entries.items() if path != unit}, tree.groups)
    assert converge(rest, keep=[unit]).remove == []
    assert Path(unit).exists()


def test_a_candidate_that_its_validator_refuses_leaves_everything_as_it_was(place: Path) -> None:
    tree = example(place)
    converge(tree)
    before = observe(tree)
    group = Group(f"{place}/edge", {"nginx.conf": file("bad;\n")}, ("grep", "-q", "good", "{root}/nginx.conf"))
    changed = Tree({**tree.entries, f"{place}/etc/unit.service": file("new\n")}, (group,))
    with pytest.raises(apply_tree.Refused, match=r"is not valid"):
        apply_tree.apply(plan(changed, observe(changed)).payload())
    assert observe(tree)["entries"] == before["entries"]
    assert os.readlink(place / "edge/current") == tree.groups[0].digest
    converge(tree)


def test_a_new_group_version_replaces_the_old_one_by_its_link(place: Path) -> None:
    converge(example(place))
    group = Group(f"{place}/edge", {"nginx.conf": file("c;\n")}, ("grep", "-q", "c", "{root}/nginx.conf"))
    converge(Tree({}, (group,)))
    assert sorted(os.listdir(place / "edge")) == sorted(["current", group.digest])
    assert (place / "edge/current/nginx.conf").read_text() == "c;\n"


def test_a_secret_is_checked_for_mode_and_never_read(place: Path) -> None:
    secret = place / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    tree = Tree({str(secret): Generated("0600", **OWNER)})
    assert "sha256" not in observe(tree)["entries"][str(secret)]
    converge(tree)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text() == "hunter2"


def test_a_missing_secret_stops_the_apply_before_anything_is_written(place: Path) -> None:
    tree = Tree({f"{place}/secret": Generated(), f"{place}/etc/a": file("a")})
    with pytest.raises(apply_tree.Refused, match="secrets step"):
        apply_tree.apply(plan(tree, observe(tree)).payload())
    assert not (place / "etc").exists()


def test_what_a_killed_run_left_behind_is_finished_by_the_next(place: Path) -> None:
    tree = example(place)
    payload = plan(tree, observe(tree)).payload()
    apply_tree.write_manifest(payload["manifest_during"])
    apply_tree.stage(payload["groups"][0])
    (place / "etc").mkdir()
    (place / "etc/.unit.service.tandem").write_text("half")
    converge(tree)
    assert not (place / "etc/.unit.service.tandem").exists()


def test_the_same_path_rendered_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="rendered twice: /a"):
        Tree({"/a": File("1")}) | Tree({"/a": File("2")})
