"""Runs on the host as root, standard library only: how fast the weights disk reads, written down for ever.

Input: one JSON argument {"directory": mount point, "uuid": of its filesystem}.
Writes a file of random bytes there and reads it back past the page cache: the empty blocks of a new disk would be
answered without reading anything. At most PROBE_BYTES and LIMIT_SECONDS each way; the file is removed in any case.
"""

import json
import mmap
import os
import sys
import time
from pathlib import Path

from tandem.hostside.files import write_atomic
from tandem.hostside.observe_storage import RECORD, record

MIB = 2**20
PIECE_BYTES = 8 * MIB
PROBE_BYTES = 512 * MIB
LIMIT_SECONDS = 3.0
NAME = ".tandem-read-speed"


def probe_bytes(directory: str) -> int:
    """At most a tenth of the free space."""
    free = os.statvfs(directory)
    tenth = free.f_bavail * free.f_frsize // 10
    return int(min(PROBE_BYTES, tenth // PIECE_BYTES * PIECE_BYTES))


def write(path: str, size_bytes: int) -> None:
    piece, began, written = os.urandom(PIECE_BYTES), time.monotonic(), 0
    with open(path, "wb") as file:
        while written < size_bytes and (written == 0 or time.monotonic() - began < LIMIT_SECONDS):
            written += file.write(piece)
            os.fdatasync(file.fileno())


def read_mib_per_second(path: str) -> float:
    # O_DIRECT wants memory that begins at a page.
    piece = mmap.mmap(-1, PIECE_BYTES)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        began, total = time.monotonic(), 0
        while (got := os.readv(handle, [piece])) > 0:
            total += got
            if time.monotonic() - began > LIMIT_SECONDS:
                break
        return total / MIB / (time.monotonic() - began)
    finally:
        os.close(handle)


def main() -> None:
    asked = json.loads(sys.argv[1])
    directory, path = asked["directory"], f"{asked['directory']}/{NAME}"
    if not os.path.ismount(directory):
        sys.exit(f"{directory} is not mounted; nothing was measured: `systemctl status {directory}` says why")
    size_bytes = probe_bytes(directory)
    if not size_bytes:
        print(f"{directory} is too full to measure how fast it reads")
        return
    try:
        write(path, size_bytes)
        speed = round(read_mib_per_second(path))
    finally:
        Path(path).unlink(missing_ok=True)
    kept = record()
    # It is mounted, so a formatting that was recorded has come to its end.
    kept["formatting"] = None
    kept["filesystems"][asked["uuid"]] = {"read_mib_per_second": speed}
    Path(RECORD).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(Path(RECORD), json.dumps(kept, indent=1) + "\n")
    print(f"{directory} reads {speed} MiB/s")


if __name__ == "__main__":
    main()
