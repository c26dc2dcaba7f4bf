"""What may go from a host, and its removal: tandemctl's commands ``cleanup list`` and ``cleanup run``.

Both read one JSON object from standard input: {"directory": weights folder, "temporary": folder for temporary files of
images, "images": [references of declared releases], "revisions": [theirs], "webui": the declared image of the WebUI};
``run`` also "remove": [[kind, name], ...] of what the list said. It looks anew under the lock of everything that
changes the host, removes only what may still go, and says a line for each.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tandem.domain.cleanup import LEFTOVER_SECONDS, Found, Image, Item, Keep, UnitFile, kept, plan
from tandem.domain.refused import Refused
from tandem.domain.weights import size
from tandem.hostside.arguments import BadInput
from tandem.hostside.files import sync_directory
from tandem.hostside.lock import lock
from tandem.hostside.model_files import held, record_links
from tandem.hostside.model_folders import folders, mounted
from tandem.hostside.paths import Paths
from tandem.hostside.state import load
from tandem.hostside.units import show

LOCK_SECONDS: Final = 30.0
PODMAN_SECONDS: Final = 600
STOPPED: Final = ("inactive", "failed")
_UNIT: Final = re.compile(r"(vllm|open-webui)-(blue|green)(-\d+)?\.container")
# The prober, which may write what it likes, names files in its folder: nothing that leads elsewhere is a rollout.
_ROLLOUT: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z0-9._-]+")
_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")


def list_all(options: argparse.Namespace, paths: Paths) -> None:
    """Print what may go. With ``--json``: {"items": [{"kind", "name", "bytes", "why"}], "refused": why there is nothing
    to list or "", "unknown": [releases of which it is not on record what they need]}.
    """
    order = _order(sys.stdin.read())
    try:
        items, keep = look(order, paths)
        refused, unknown = "", keep.unknown
    except Refused as refusal:
        if not options.json:
            raise
        items, refused, unknown = [], str(refusal), ()
    if options.json:
        print(json.dumps({"items": [asdict(item) for item in items], "refused": refused, "unknown": unknown}))
        return
    for item in items:
        print(f"{item.kind} {item.name}: {size(item.bytes)} ({item.why})")
    if not items:
        print("nothing may go: every image, model and unit is of a kept release")


def run(options: argparse.Namespace, paths: Paths) -> None:
    """Remove what standard input names. Raises SystemExit with a line for each that stays, and Refused."""
    stays = remove(_order(sys.stdin.read(), "remove"), paths)
    if stays:
        raise SystemExit("\n".join(f"tandemctl: {sentence}" for sentence in stays))


def _order(text: str, *more: str) -> dict[str, Any]:
    """Raises BadInput."""
    forms = {"directory": str, "temporary": str, "images": list, "revisions": list, "webui": str}
    forms |= dict.fromkeys(more, list)
    try:
        order = json.loads(text)
    except ValueError:
        raise BadInput("standard input is not JSON. Nothing was changed.") from None
    right = isinstance(order, dict) and order.keys() == forms.keys()
    if not right or not all(isinstance(order[key], kind) for key, kind in forms.items()):
        shown = ", ".join(f"{key} ({kind.__name__})" for key, kind in forms.items())
        raise BadInput(f"standard input must be one JSON object with exactly {shown}. Nothing was changed.")
    return {**order}


def look(order: Mapping[str, Any], paths: Paths) -> tuple[list[Item], Keep]:
    """All that may go now. Raises Refused before the first install, during a rollout and for a damaged record."""
    keep = kept(load(paths.state), order["images"], order["revisions"], _brought(paths), order["webui"])
    return plan(_found(order, paths), keep), keep


def remove(order: Mapping[str, Any], paths: Paths) -> list[str]:
    """Remove what ``order["remove"]`` names and may still go; returns what stays, a sentence each. Raises Refused."""
    stays = []
    asked = {(kind, name) for kind, name in order["remove"]}
    with (
        # In this order, as a WebUI switch takes them: who waits for it keeps nobody else waiting.
        lock(paths.lock.with_name("tandem-webui.lock"), "cleanup", "remove what no kept release uses", LOCK_SECONDS),
        lock(paths.lock, "cleanup", "remove what no kept release uses", LOCK_SECONDS),
    ):
        items, _ = look(order, paths)
        here = {(item.kind, item.name) for item in items}
        stays += [f"the {kind} {name} is needed meanwhile, or is gone" for kind, name in sorted(asked - here)]
        for item in items:
            if (item.kind, item.name) not in asked:
                continue
            try:
                _remove(item, order, paths)
                print(f"removed the {item.kind} {item.name}: {size(item.bytes)}", flush=True)
            except (OSError, subprocess.SubprocessError) as error:
                stays.append(f"the {item.kind} {item.name} stays: {_reason(error)}")
        if any(kind == "unit" for kind, _ in asked & here):
            subprocess.run(["systemctl", "daemon-reload"], capture_output=True, timeout=60, check=False)
    return stays


def _remove(item: Item, order: Mapping[str, Any], paths: Paths) -> None:
    if item.kind == "image":
        # Without force: what a container uses stays.
        command = ["podman", "image", "rm", item.name]
        subprocess.run(command, capture_output=True, text=True, timeout=PODMAN_SECONDS, check=True)
    elif item.kind == "model":
        _remove_model(order["directory"], item.name)
    elif item.kind == "rollout":
        (paths.prober / f"{item.name}.jsonl").unlink(missing_ok=True)
        _remove_path(paths.rollouts / item.name)
    elif item.kind == "webui":
        folder = paths.root / "var/lib/tandem/webui" / item.name
        for path in folder.iterdir():  # the folder itself is of the tree
            _remove_path(path)
    else:
        _remove_path(Path(item.name))


def _remove_model(directory: str, name: str) -> None:
    """Renamed first, so that half a model is never taken for a whole one."""
    with lock(Path(directory, ".lock"), "cleanup", "remove models", LOCK_SECONDS):
        shared, aside = held(directory), f"{directory}/.removing-{name[-40:]}"
        if f"{directory}/{name}" != aside:
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(f"{directory}/{name}", aside)
            sync_directory(directory)
        shutil.rmtree(aside)
        record_links(shared)


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sync_directory(path.parent)


def _found(order: Mapping[str, Any], paths: Paths) -> Found:
    models = folders(order["directory"])
    rollouts = {path.name: _bytes(path) for path in _children(paths.rollouts) if _ROLLOUT.fullmatch(path.name)}
    for path in _children(paths.prober):
        if path.suffix == ".jsonl" and _ROLLOUT.fullmatch(path.stem):
            rollouts[path.stem] = rollouts.get(path.stem, 0) + _bytes(path)
    webui = paths.root / "var/lib/tandem/webui"
    slots = {path.name: _bytes(path) for path in _children(webui) if path.name in ("blue", "green") and path.is_dir()}
    units = tuple(_units(paths))
    running = {unit.slot for unit in units if unit.runs and not unit.revision}
    return Found(
        images=tuple(_images()),
        units=units,
        models=models,
        mounted=frozenset(mounted(models, units="/nonexistent/*")),
        webui={slot: count for slot, count in slots.items() if count and slot not in running},
        rollouts=rollouts,
        leftovers=dict(_leftovers(Path(order["temporary"]))),
    )


def _units(paths: Paths) -> Iterator[UnitFile]:
    files = [path for path in _children(paths.containers) if _UNIT.fullmatch(path.name)]
    shown = show([path.stem for path in files]) if files else {}
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        kind, slot = path.name.split("-")[0], path.stem.removeprefix("vllm-").removeprefix("open-webui-").split("-")[0]
        image = re.search(r"^Image=(\S+)", text, re.MULTILINE)
        model = re.search(r"^Volume=\S*/([0-9a-f]{40}):", text, re.MULTILINE)
        # One that says no revision is kept, like one that systemd says nothing of.
        runs = path.stem not in shown or shown[path.stem].active not in STOPPED
        revision = model[1] if model and kind == "vllm" else ""
        yield UnitFile(str(path), slot, image[1] if image else "", revision, path.stat().st_size, runs)


def _images() -> Iterator[Image]:
    """None when Podman is not there."""
    if shutil.which("podman") is None:
        return
    used = {one.get("ImageID") for one in _podman("ps", "--all", "--external", "--format", "json")}
    for one in _podman("images", "--all", "--format", "json"):
        names = {*(one.get("Names") or ()), *(one.get("RepoDigests") or ())}
        digests = {one.get("Digest"), *(name.partition("@")[2] for name in names)} - {None, ""}
        yield Image(
            id=one["Id"],
            names=tuple(sorted(names)),
            digests=tuple(sorted(str(digest) for digest in digests)),
            bytes=int(one.get("Size") or 0),
            used=bool(one.get("Containers")) or one["Id"] in used,
            fixed=bool(one.get("ReadOnly")),
        )


def _podman(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=PODMAN_SECONDS, check=True)
    return [dict(one) for one in json.loads(done.stdout or "[]") or ()]


def _brought(paths: Paths) -> set[str]:
    """Images that the history of this host names: Tandem brought them."""
    with suppress(OSError):
        return set(_IMAGE.findall(paths.history.read_text(encoding="utf-8", errors="replace")))
    return set()


def _leftovers(folder: Path) -> Iterator[tuple[str, int]]:
    """What lies unchanged for a day where images pass through."""
    for path in _children(folder):
        if time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS:
            yield str(path), _bytes(path)


def _children(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def _bytes(path: Path) -> int:
    """What it takes on disk; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_blocks * 512
    return sum(os.lstat(f"{at}/{name}").st_blocks * 512 for at, _, names in os.walk(path) for name in names)


def _reason(error: Exception) -> str:
    said = str(getattr(error, "stderr", None) or "").strip().splitlines()
    return said[-1] if said else str(error)
