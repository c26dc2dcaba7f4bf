"""What may go is decided by the record alone; what goes are real files and real images of Podman."""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.advance import Rollout
from tandem.domain.cleanup import CONSENT, Found, Image, Item, UnitFile, allowed, kept, plan, repository_of
from tandem.domain.layout import Swap
from tandem.domain.refused import Refused
from tandem.domain.rollout import Past, Slot, State, Webui
from tandem.hostside.arguments import BadInput
from tandem.hostside.cleanup import list_all, run
from tandem.hostside.lock import LockHeld, lock
from tandem.hostside.paths import Paths
from tandem.hostside.state import to_record
from tandem.steps.cleanup import table
from tests.unit.serving import program, unit_block

ENGINE, WEBUI = "registry.example:5000/team/vllm", "registry.example/open-webui"
REVISIONS = {name: character * 40 for name, character in (("old", "0"), ("now", "1"), ("next", "2"), ("gone", "3"))}


def image(name: str) -> str:
    return f"{ENGINE}@sha256:{REVISIONS[name][0] * 64}"


def slot(name: str, weight: int = 100) -> Slot:
    return Slot(name, "d" * 16, (18100,), weight, (18100,), "tiny", REVISIONS[name], image(name))


NOW = State(
    serving="blue",
    slots={"blue": slot("now")},
    webui=Webui("blue", 18300),
    past=Past("20261101-000000-now", "finished", "", "then", "old", "e" * 16, REVISIONS["old"], image("old")),
)
DECLARED: dict[str, Any] = {"images": [image("next")], "revisions": [REVISIONS["next"]]}


def stored(name: str, **more: Any) -> Image:
    return replace(Image(f"id-{name}", (image(name),), (f"sha256:{REVISIONS[name][0] * 64}",), 10), **more)


def unit(name: str, at: str = "green", **more: Any) -> UnitFile:
    return replace(UnitFile(f"/u/vllm-{at}-0.container", at, image(name), REVISIONS[name], 1, False), **more)


FOUND = Found(
    images=tuple(stored(name) for name in REVISIONS),
    models={**dict.fromkeys(REVISIONS.values(), 10), f".incoming-{'3' * 40}": 5},
    webui={"blue": 7, "green": 8},
)


def going(found: Found = FOUND, state: State = NOW, **more: Any) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in plan(found, kept(state, **DECLARED, **more))}


def test_what_serves_is_declared_or_is_the_way_back_stays() -> None:
    assert going() == {
        ("image", "id-gone"),
        ("model", REVISIONS["gone"]),
        ("model", f".incoming-{REVISIONS['gone']}"),
        ("webui", "green"),
    }


def test_without_the_way_back_its_release_may_go() -> None:
    assert {("image", "id-old"), ("model", REVISIONS["old"])} <= going(
        state=replace(NOW, past=None), brought=[image("old")]
    )


def test_what_runs_or_is_mounted_stays_whatever_is_declared() -> None:
    found = replace(FOUND, mounted=frozenset({REVISIONS["gone"]}), images=(stored("gone", used=True),))
    assert going(found) == {("webui", "green")}
    running = replace(FOUND, units=(unit("gone", runs=True),))
    assert going(running) == {("webui", "green")}


def test_a_stopped_unit_of_no_kept_release_goes_and_keeps_nothing() -> None:
    found = replace(FOUND, units=(unit("gone"),))
    assert going(found) == going() | {("unit", "/u/vllm-green-0.container")}
    assert going(replace(FOUND, units=(unit("old"), unit("gone", "blue")))) == {("webui", "green")}


def test_the_images_of_both_webuis_stay() -> None:
    def of(digit: str) -> Image:
        return Image(f"w{digit}", (f"{WEBUI}@sha256:{digit * 64}",), (f"sha256:{digit * 64}",), 1)

    units = tuple(
        UnitFile(f"/u/open-webui-{at}.container", at, f"{WEBUI}@sha256:{digit * 64}", "", 1, at == "blue")
        for at, digit in (("blue", "a"), ("green", "b"))
    )
    found = replace(FOUND, images=tuple(map(of, "abcd")), units=units)
    assert {name for kind, name in going(found, webui=f"{WEBUI}@sha256:{'c' * 64}") if kind == "image"} == {"wd"}


def test_images_of_somebody_else_stay() -> None:
    other = Image("other", ("registry.example/other:1",), ("sha256:" + "f" * 64,), 1)
    both = replace(stored("gone"), names=(image("gone"), "registry.example/other:1"))
    nameless = replace(stored("gone"), names=())
    assert ("image", "id-gone") not in going(replace(FOUND, images=(other, both, nameless, stored("gone", fixed=True))))
    assert ("image", "other") not in going(replace(FOUND, images=(other,)))
    assert ("image", "other") in going(replace(FOUND, images=(other,)), brought=["registry.example/other@sha256:1"])
    assert repository_of("registry.example:5000/team/vllm:1.2") == ENGINE


def test_while_a_kept_release_is_not_on_record_no_image_and_no_model_goes() -> None:
    state = replace(NOW, slots={"blue": replace(slot("now"), image="", revision="")})
    assert going(state=state) == {("webui", "green")}
    assert kept(state, **DECLARED).unknown == ("now",)


def test_the_newest_reports_stay() -> None:
    ids = [f"202611{day:02}-000000-x" for day in range(1, 14)]
    found = Found(rollouts=dict.fromkeys(ids, 3), leftovers={"/t/x": 4})
    assert going(found) == {*(("rollout", id) for id in ids[:3]), ("leftover", "/t/x")}


def test_chats_and_models_go_only_when_they_are_named() -> None:
    items = plan(FOUND, kept(NOW, **DECLARED))
    assert {item.kind for item in allowed(items, [])} == {"image"}
    assert {item.kind for item in allowed(items, CONSENT)} == {"image", "model", "webui"}


def test_nothing_goes_during_a_rollout_or_before_an_install() -> None:
    swap = Swap("blue", "green", (0,), "side-by-side")
    slots = {"blue": slot("now"), "green": slot("next", 0)}
    with pytest.raises(Refused, match=r"\(state staging\)\. Nothing was removed"):
        kept(replace(NOW, slots=slots, rollout=Rollout(swap)), **DECLARED)
    with pytest.raises(Refused, match="Run install first"):
        kept(State(), **DECLARED)


def test_the_list_says_how_much_and_the_words_that_remove_it() -> None:
    items = [
        Item("image", "abc", 2**30, "no kept release runs it"),
        Item("model", "r", 2**31, "w"),
        Item("webui", "green", 9, "w"),
    ]
    said = table("gpu1", items, False, [])
    assert "abc  (no kept release runs it)" in said
    assert "--data remove=true frees at most 1.0 GiB." in said
    assert "--data remove=model removes also models (2.0 GiB)." in said
    assert "--data remove=webui removes also the chats" in said
    assert "remove=true frees at most 3.0 GiB." in table("gpu1", items, True, [])
    assert "remove" not in table("gpu1", [], False, [])
    assert "what release now needs is not on record" in table("gpu1", [], False, ["now"])


class Host:
    """A host's files, with its own Podman store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, Paths(folder)
        self.weights, self.temporary = folder / "weights", folder / "images/tmp"
        for path in (self.weights, self.temporary, self.paths.containers, self.paths.state.parent, folder / "run/lock"):
            path.mkdir(parents=True)
        self.record(NOW)

    def record(self, state: State) -> None:
        self.paths.state.write_text(json.dumps(to_record(state)))

    def file(self, path: Path, days_old: float = 0.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
        if days_old:
            moment = path.stat().st_mtime - days_old * 86400
            os.utime(path, (moment, moment))
        return path

    def unit(self, name: str, release: str) -> Path:
        path = self.paths.containers / f"{name}.container"
        path.write_text(f"[Container]\nImage={image(release)}\nVolume={self.weights}/{REVISIONS[release]}:/model:ro\n")
        return path

    def order(self, **more: Any) -> dict[str, Any]:
        where = {"directory": str(self.weights), "temporary": str(self.temporary)}
        return {**where, **DECLARED, "webui": f"{WEBUI}@sha256:{'c' * 64}", **more}


Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The real Podman on a store in ``tmp_path``; a systemctl that knows of stopped engines and a running WebUI."""
    if os.geteuid() or not (real := shutil.which("podman")):
        pytest.skip("needs root and podman")
    folder = tempfile.mkdtemp(prefix="store-")  # Podman takes no path of more than 50 characters
    where = f"--root {folder}/root --runroot {folder}/run --storage-driver vfs --events-backend none"
    program(tmp_path / "bin", "podman", f'exec {real} {where} "$@"')
    blocks = [unit_block(f"vllm-{name}-0", "inactive", "dead") for name in ("blue", "green")]
    (tmp_path / "units").write_text("\n".join([*blocks, unit_block("open-webui-green", "active")]))
    program(tmp_path / "bin", "systemctl", f'[ "$1" = show ] && cat {tmp_path}/units; echo "$@" >>{tmp_path}/ordered')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    def podman(*words: str) -> str:
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    try:
        yield podman
    finally:
        podman("rmi", "--all", "--force")
        shutil.rmtree(folder)


@pytest.fixture
def here(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def ask(here: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What the host lists; ``remove`` first removes these."""

    def asked(remove: list[list[str]] | None = None) -> list[dict[str, Any]]:
        options = argparse.Namespace(json=True)
        if remove is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(here.order(remove=remove))))
            run(options, here.paths)
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(here.order())))
        list_all(options, here.paths)
        answer = json.loads(capsys.readouterr().out)
        assert answer["refused"] == ""
        return list(answer["items"])

    return asked


def imported(store: Callable[..., str], folder: Path, name: str) -> None:
    (folder / "content").mkdir(exist_ok=True)
    (folder / "content/file").write_text(name)
    subprocess.run(["tar", "-C", str(folder / "content"), "-cf", str(folder / "image.tar"), "."], check=True)
    store("import", str(folder / "image.tar"), name)


def test_what_is_listed_goes_and_nothing_else(store: Callable[..., str], here: Host, ask: Ask, tmp_path: Path) -> None:
    imported(store, tmp_path, f"{ENGINE}:gone")
    imported(store, tmp_path, "registry.example/other:1")
    for name in REVISIONS.values():
        here.file(here.weights / name / "model.safetensors")
    stays = [here.unit("vllm-blue-0", "now"), here.file(here.temporary / "fresh")]
    stays += [here.file(here.weights / REVISIONS["old"] / "config.json"), here.paths.state]
    gone = [here.unit("vllm-green-0", "gone"), here.file(here.temporary / "stale", days_old=2)]
    ids = [f"202611{day:02}-000000-x" for day in range(1, 13)]
    for id in ids:
        stays.append(here.file(here.paths.rollouts / id / "verdicts.jsonl"))
        stays.append(here.file(here.paths.prober / f"{id}.jsonl"))
    stays, gone = [*stays[:4], *stays[8:]], [*gone, *stays[4:8]]
    (tmp_path / "var/lib/tandem/webui/blue").mkdir(parents=True)
    chats = here.file(tmp_path / "var/lib/tandem/webui/green/webui.db")
    listed = ask()
    assert {item["kind"] for item in listed} == {"unit", "image", "model", "rollout", "leftover", "webui"}
    models = [item for item in listed if item["kind"] == "model"]
    assert [item["name"] for item in models] == [REVISIONS["gone"]]
    assert all(path.exists() for path in [*stays, *gone, chats])
    left = ask([[item["kind"], item["name"]] for item in listed if item["kind"] not in CONSENT])
    assert {item["kind"] for item in left} == {"model", "webui"}
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in [*stays, chats])
    assert "daemon-reload" in (tmp_path / "ordered").read_text()
    names = json.loads(store("images", "--format", "json"))
    assert [one["Names"] for one in names] == [["registry.example/other:1"]]
    assert ask([["model", REVISIONS["gone"]], ["webui", "green"]]) == []
    assert not (here.weights / REVISIONS["gone"]).exists()
    assert chats.parent.is_dir()
    assert list(chats.parent.iterdir()) == []


def test_only_what_is_named_as_a_rollout_is_one(
    here: Host, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "systemctl", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin/none")
    for name in ("..", ".", "x"):
        here.file(here.paths.prober / f"{name}.jsonl")
    for day in range(1, 13):
        here.file(here.paths.prober / f"202611{day:02}-000000-x.jsonl")
        (here.paths.rollouts / f"202611{day:02}-000000-x").mkdir(parents=True)
    listed = ask()
    assert [item["name"] for item in listed] == ["20261101-000000-x", "20261102-000000-x"]
    ask(remove=[[item["kind"], item["name"]] for item in listed])
    assert here.paths.state.exists()
    assert len(list(here.paths.rollouts.iterdir())) == 10


def test_what_is_needed_meanwhile_stays_and_is_said(store: Callable[..., str], here: Host, ask: Ask) -> None:
    here.file(here.weights / REVISIONS["gone"] / "model.safetensors")
    here.file(here.weights / REVISIONS["now"] / "model.safetensors")
    with pytest.raises(SystemExit, match=f"the model {REVISIONS['now']} is needed meanwhile, or is gone"):
        ask([["model", REVISIONS["now"]], ["model", REVISIONS["gone"]], ["unit", "/etc/passwd"]])
    assert (here.weights / REVISIONS["now"]).exists()
    assert not (here.weights / REVISIONS["gone"]).exists()
    assert Path("/etc/passwd").exists()


def test_an_image_that_a_container_uses_stays(store: Callable[..., str], ask: Ask, tmp_path: Path) -> None:
    imported(store, tmp_path, f"{ENGINE}:gone")
    store("create", "--name", "one", "--network", "host", f"{ENGINE}:gone", "/file")
    assert ask() == []
    store("rm", "one")
    assert [item["kind"] for item in ask()] == ["image"]


def test_nothing_is_removed_while_somebody_changes_the_host(
    here: Host, ask: Ask, monkeypatch: pytest.MonkeyPatch, store: Callable[..., str]
) -> None:
    monkeypatch.setattr("tandem.hostside.cleanup.LOCK_SECONDS", 0.2)
    folder = here.file(here.weights / REVISIONS["gone"] / "x").parent
    with lock(here.paths.lock, "somebody", "a test"), pytest.raises(LockHeld):
        ask([["model", folder.name]])
    assert folder.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"directory": 3}'])
def test_an_order_that_is_none_is_refused(here: Host, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with pytest.raises(BadInput, match="Nothing was changed"):
        run(argparse.Namespace(), here.paths)
