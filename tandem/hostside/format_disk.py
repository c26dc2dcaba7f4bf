"""Runs on the host as root, standard library only: makes the weights filesystem on a disk that may be formatted.

Input: one JSON argument, the fields of ``tandem.domain.storage.Disk``.
The disk is looked at and judged again here, so that what came to it since the plan is safe. Exit status 1 with one
sentence where it may not be formatted. What has begun is recorded first: a run cut short is finished by the next one.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tandem.domain.storage import Disk, gib, judge
from tandem.hostside.files import write_atomic
from tandem.hostside.observe_storage import RECORD, look, record


def step(*command: str) -> None:
    """Every tool here refuses by itself a disk that is mounted or otherwise in use: no force option is ever given."""
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip()
        sys.exit(f"{' '.join(command)} failed: {said}\nnothing else was done: mend the cause, then run this again")


def write_record(**parts: Any) -> None:
    path = Path(RECORD)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**record(), **parts}, indent=1) + "\n")


def erase(disk: Disk, seen: dict[str, Any]) -> None:
    """The partitions first: a partition table made again in the same place shall not bring their content back."""
    for part in seen["partitions"]:
        if part["node"]:
            print(f"erasing {part['node']}", flush=True)
            step("wipefs", "--quiet", "--all", part["node"])
    print(f"erasing {disk.device}", flush=True)
    step("wipefs", "--quiet", "--all", disk.device)


def make(disk: Disk) -> None:
    if disk.filesystem == "xfs":
        step("mkfs.xfs", "-q", "-L", disk.label, "-m", f"uuid={disk.uuid}", disk.device)
    else:
        # Nothing but weights is kept there: no share is set aside for root.
        step("mkfs.ext4", "-q", "-m", "0", "-L", disk.label, "-U", disk.uuid, disk.device)


def main() -> None:
    disk = Disk(**json.loads(sys.argv[1]))
    seen = look(disk.device, disk.directory, disk.uuid)
    verdict = judge(disk, seen)
    if verdict.refusal:
        sys.exit(verdict.refusal)
    if not verdict.format:
        return
    write_record(formatting={"uuid": disk.uuid, "serial": seen["serial"], "bytes": seen["bytes"]})
    if verdict.destroys or seen["unfinished"]:
        erase(disk, seen)
    make(disk)
    write_record(formatting=None)
    print(f"{disk.device}: {gib(seen['bytes'])} formatted as {disk.filesystem} with label {disk.label}")


if __name__ == "__main__":
    main()
