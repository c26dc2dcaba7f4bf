"""Runs on the host, standard library only: applies one plan to the file tree, all or nothing up to the validators.

Input: JSON on standard input, so that nothing shows in a process list (see ``tandem.render.changes.Plan.payload``):
the lists of the plan by name, each entry with its absolute path, owner and mode.

Order: lock, manifest (old and new paths), candidates of all groups written and validated, then directories, files,
modes,
links, group swaps, removals, manifest (new paths only). Every file is written to a temporary name, given owner and
mode,
fsynced and renamed; a crash at any point leaves whole old or whole new files, and a re-run finishes.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from typing import Any

from tandem.hostside.files import sync_directory

MANIFEST = "/var/lib/tandem/manifest.json"
LOCK = "/run/tandem/tree.lock"  # not in /run/lock, where everybody may put a link of that name


class Refused(Exception):
    """Nothing was changed; the text says why."""


def make_folders(path: str) -> None:
    """Missing parents as 0755 root, as mkdir -p would."""
    if not os.path.isdir(path):
        make_folders(os.path.dirname(path))
        os.mkdir(path, 0o755)
        sync_directory(os.path.dirname(path))


def write_file(path: str, content: str, mode: str, uid: int, gid: int) -> None:
    folder, name = os.path.split(path)
    make_folders(folder)
    temporary = os.path.join(folder, f".{name}.tandem")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode())
        file.flush()
        os.fchown(handle, uid, gid)
        os.fchmod(handle, int(mode, 8))
        os.fsync(handle)
    if os.path.isdir(path) and not os.path.islink(path):
        raise Refused(f"{path}: a directory is in the way of a file; move it away")
    os.rename(temporary, path)
    sync_directory(folder)


def write_link(path: str, target: str) -> None:
    folder, name = os.path.split(path)
    make_folders(folder)
    temporary = os.path.join(folder, f".{name}.tandem")
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_directory(folder)


def write_manifest(paths: list[str]) -> None:
    write_file(MANIFEST, json.dumps({"schema": 1, "paths": sorted(paths)}, indent=1) + "\n", "0644", 0, 0)


def stage(group: dict[str, Any]) -> None:
    """Writes the wrong or missing files of a candidate beside the active ones."""
    for file in group["files"]:
        write_file(f"{group['root']}/{file['path']}", file["content"], file["mode"], file["uid"], file["gid"])


def validate(group: dict[str, Any]) -> None:
    if not group["validate"]:
        return
    command = [word.replace("{root}", group["root"]) for word in group["validate"]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        raise Refused(f"{group['root']} is not valid: {(result.stderr or result.stdout).strip()[-1500:]}")


def swap(group: dict[str, Any]) -> None:
    write_link(f"{group['base']}/current", os.path.basename(group["root"]))
    for name in group["extra"]:
        os.unlink(os.path.join(group["base"], name))
    for name in os.listdir(group["base"]):
        path = os.path.join(group["base"], name)
        if path != group["root"] and name != "current":
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def remove(path: str) -> None:
    """A file or link; a whole group; a directory only when it is empty: what others put there stays."""
    if os.path.islink(path) and os.path.basename(path) == "current":
        shutil.rmtree(os.path.dirname(path))
    elif os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path) and not os.listdir(path):
        os.rmdir(path)


def apply(plan: dict[str, Any]) -> None:
    if plan["missing"]:
        raise Refused(f"not on this host: {', '.join(plan['missing'])}; the secrets step of install makes them")
    if plan["manifest_during"] is not None:
        write_manifest(plan["manifest_during"])
    for entry in plan["directories"]:
        make_folders(entry["path"])
        os.chown(entry["path"], entry["uid"], entry["gid"])
        os.chmod(entry["path"], int(entry["mode"], 8))
    for group in plan["groups"]:
        stage(group)
    for group in plan["groups"]:
        validate(group)
    for entry in plan["files"]:
        write_file(entry["path"], entry["content"], entry["mode"], entry["uid"], entry["gid"])
    for entry in plan["modes"]:
        os.chown(entry["path"], entry["uid"], entry["gid"])
        os.chmod(entry["path"], int(entry["mode"], 8))
    for entry in plan["links"]:
        write_link(entry["path"], entry["target"])
    for group in plan["groups"]:
        swap(group)
    for path in plan["remove"]:
        remove(path)
    if plan["manifest_after"] is not None:
        write_manifest(plan["manifest_after"])


def main() -> None:
    plan = json.load(sys.stdin)
    os.makedirs(os.path.dirname(LOCK), mode=0o755, exist_ok=True)
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another run is writing this host's files; nothing was changed, run again when it is done")
        try:
            apply(plan)
        except Refused as refusal:
            sys.exit(f"{refusal}\nthe files in use were left as they were")
    for sentence in plan["sentences"]:
        print(sentence)


if __name__ == "__main__":
    main()
