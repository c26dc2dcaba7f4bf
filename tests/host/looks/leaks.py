"""Runs on the host as root, standard library only: where a secret can be seen, as one JSON line.

Input: one JSON argument {"root": folder of secrets, "names": [files in it], "units": [unit names]}.
Output: {"found": {place: [names of the secrets seen there]}, "looked": {kind: how much was read}}; never a value.
"""

import json
import os
import re
import subprocess
import sys

PLACES = ("/etc", "/run", "/var/lib/tandem", "/var/log", "/tmp")
MOST_BYTES = 2**20
JOURNAL_ENTRIES = 300_000


def secrets(root: str, names: list[str]) -> dict[bytes, str]:
    values = {}
    for name in names:
        with open(f"{root}/{name}", "rb") as file:
            values[file.read().strip()] = name
    if any(len(value) < 12 for value in values):
        raise SystemExit("a secret is shorter than 12 bytes: it would be found everywhere")
    return values


class Search:
    def __init__(self, values: dict[bytes, str]) -> None:
        self.values = values
        self.pattern = re.compile(b"|".join(re.escape(value) for value in values))
        self.found: dict[str, set[str]] = {}
        self.looked: dict[str, int] = {}

    def read(self, kind: str, place: str, data: bytes) -> None:
        self.looked[kind] = self.looked.get(kind, 0) + 1
        for hit in self.pattern.findall(data):
            self.found.setdefault(place, set()).add(self.values[hit])

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
    command = ["journalctl", "--boot", "--quiet", "--no-pager", "--output=export", f"--lines={JOURNAL_ENTRIES}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout
        unit = b"?"
        for line in run.stdout:
            if line.startswith(b"_SYSTEMD_UNIT="):
                unit = line.split(b"=", 1)[1].strip()
            search.read("journal lines", f"journal near {unit.decode(errors='replace')}", line)


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
    values = secrets(asked["root"], asked["names"])
    outside = in_a_child(Search(values), asked["units"])
    search = Search(values)
    command_lines(search)
    journal(search)
    inside = search.report()
    print(json.dumps({part: {**inside[part], **outside[part]} for part in ("found", "looked")}))


if __name__ == "__main__":
    main()
