"""Runs on the host as root, standard library only: where a secret can be seen, as one JSON line.

Input: one JSON argument {"root": folder of secrets, "names": [files in it], "units": [unit names]}, and optionally
"derived": [files in it that hold keys, cookies and hashes among other things], "folders": [folders to be read as root],
"more": true when standard input has {"words": {name: word to look for}, "texts": {name: text to look through}} as JSON.
Output: {"found": {place: [names of the secrets seen there]}, "looked": {kind: how much was read}}; never a value.
"""

import json
import os
import re
import subprocess
import sys

PLACES = ("/etc", "/run", "/var/lib/tandem", "/var/log", "/tmp")
MOST_BYTES = 2**20
PIECE_BYTES = 2**20
LONGEST = 512
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)
DERIVED = re.compile(rb"\b[0-9a-f]{64}\b|\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


def secrets(root: str, names: list[str], derived: list[str]) -> dict[bytes, str]:
    values = {}
    for name in names:
        with open(f"{root}/{name}", "rb") as file:
            values[file.read().strip()] = name
    for name in derived:
        with open(f"{root}/{name}", "rb") as file:
            data = file.read()
        lines = [line for key in PRIVATE_KEY.findall(data) for line in key.split()]
        values |= {value: name for value in [*lines, *DERIVED.findall(data)] if value not in values}
    if any(len(value) < 12 for value in values):
        raise SystemExit("a secret is shorter than 12 bytes: it would be found everywhere")
    return values


class Search:
    def __init__(self, values: dict[bytes, str]) -> None:
        self.values = values
        self.found: dict[str, set[str]] = {}
        self.looked: dict[str, int] = {}

    def read(self, kind: str, place: str, data: bytes, count: int = 1) -> None:
        self.looked[kind] = self.looked.get(kind, 0) + count
        for value, name in self.values.items():
            if value in data:
                self.found.setdefault(place, set()).add(name)

    def hits(self, texts: list[bytes]) -> list[bytes]:
        together = b"\n".join(texts)
        present = [value for value in self.values if value in together]
        return [text for text in texts if any(value in text for value in present)]

    def report(self) -> dict[str, dict[str, list[str]] | dict[str, int]]:
        return {"found": {place: sorted(names) for place, names in self.found.items()}, "looked": self.looked}


def command_lines(search: Search) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                search.read("command lines", f"/proc/{pid}/cmdline", file.read())
        except OSError:
            continue  # ended meanwhile


def journal(search: Search) -> None:
    """The whole journal of this boot, with every field, and so with the command line of whoever wrote."""
    command = ["journalctl", "--boot", "--quiet", "--no-pager", "--output=export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout
        rest = b""
        while piece := run.stdout.read(PIECE_BYTES):
            *entries, rest = (rest + piece).split(b"\n\n")
            for entry in search.hits(entries):
                unit = re.search(rb"^_SYSTEMD_UNIT=(.*)$", entry, re.MULTILINE)
                place = f"journal of {unit[1].decode(errors='replace') if unit else 'no unit'}"
                search.read("journal lines", place, entry, 0)
            search.read("journal lines", "journal, its end", b"", piece.count(b"\n"))
        search.read("journal lines", "journal, its end", rest, 0)


def folders(search: Search, tops: list[str]) -> None:
    """Every file below, as root; databases, logs and records too, each to its end."""
    for path in (os.path.join(at, name) for top in tops for at, _, names in os.walk(top) for name in names):
        try:
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                before = b""
                while piece := file.read(PIECE_BYTES):
                    search.read("files read as root", f"root: {path}", before + piece, 0 if before else 1)
                    before = piece[-LONGEST:]
        except OSError:
            continue  # gone meanwhile


def as_nobody(search: Search, units: list[str]) -> None:
    """What a user without any right can read: files, environments of processes, and what systemd tells."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    pids = [f"/proc/{pid}/{part}" for pid in filter(str.isdigit, os.listdir("/proc")) for part in ("environ", "stat")]
    files = (os.path.join(at, name) for place in PLACES for at, _, names in os.walk(place) for name in names)
    for path in [*files, *pids]:
        try:
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                search.read("files readable by nobody", path, file.read(MOST_BYTES))
        except OSError:
            continue  # not readable: as it should be
    for verb in ("show", "cat", "status"):
        done = subprocess.run(["systemctl", verb, "--no-pager", *units], capture_output=True, check=False, timeout=60)
        search.read("answers of systemd", f"systemctl {verb}", done.stdout)


def in_a_child(search: Search, units: list[str]) -> dict[str, dict[str, list[str]] | dict[str, int]]:
    """``as_nobody`` in a process of its own: there is no way back from it."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        as_nobody(search, units)
        os.write(writer, json.dumps(search.report()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    answer: dict[str, dict[str, list[str]] | dict[str, int]] = json.loads(text)
    return answer


def main() -> None:
    asked = json.loads(sys.argv[1])
    values = secrets(asked["root"], asked["names"], asked.get("derived", []))
    more = json.load(sys.stdin) if asked.get("more") else {"words": {}, "texts": {}}
    values |= {word.encode(): name for name, word in more["words"].items()}
    outside = in_a_child(Search(values), asked["units"])
    search = Search(values)
    command_lines(search)
    journal(search)
    inside = search.report()
    root = Search(values)
    folders(root, asked.get("folders", []))
    for name, text in more["texts"].items():
        root.read("texts", name, text.encode())
    report = root.report()
    print(json.dumps({part: {**report[part], **inside[part], **outside[part]} for part in ("found", "looked")}))


if __name__ == "__main__":
    main()
