"""systemctl and journalctl of a host made of processes: the outermost edge that the product's own programs ask.

Not systemd: it hands its words to the harness (``local_units.Units``) over a socket, which starts, stops and describes
real processes by the same rules: a unit exists with its file, a parked one does not start, one that ends is started
again. journalctl reads what the engine router wrote to a file. Standard library only: it runs as it is.
"""

import json
import socket
import sys
from pathlib import Path


def systemctl(address: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        line.sendall(json.dumps(words).encode() + b"\n")
        answer = json.loads(b"".join(iter(lambda: line.recv(65536), b"")))
    sys.stdout.write(answer["text"])
    return int(answer["status"])


def journalctl(log: Path, words: list[str]) -> int:
    """The cursor is a place in the file."""
    if "--identifier" not in words:
        return 0
    found = log.read_bytes() if log.exists() else b""
    begin = int(words[words.index("--after-cursor") + 1]) if "--after-cursor" in words else len(found)
    end = found.rfind(b"\n") + 1
    sys.stdout.write(found[begin:end].decode() + f"-- cursor: {max(begin, end)}\n")
    return 0


if __name__ == "__main__":
    place, name, *rest = sys.argv[1:]
    sys.exit(systemctl(place, rest) if name == "systemctl" else journalctl(Path(place), rest))
