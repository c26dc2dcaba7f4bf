"""Programs of a local host killed at a chosen system call of theirs, and what must be true of the host afterwards."""

import collections
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tandem.domain.refused import Refused
from tandem.domain.slots import STATUS_PORT
from tandem.hostside.split import split_revision
from tandem.hostside.traffic import SETTLED_SECONDS
from tests.faults.local_host import LocalHost
from tests.faults.local_services import KEY, MODEL
from tests.faults.local_users import Users
from tests.unit.nginx_process import ask as get

CALLS: Final = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "fsync", "fdatasync", "write", "pwrite64",
                "ftruncate", "mkdir", "vfork", "execve")  # fmt: skip
"""What changes something that outlives the process, or starts another one (vfork: systemctl is asked)."""
WATCH_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Kill:
    """At the start of the ``number``-th system call of this name; what it does is not done."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


def traced(file: Path, kill: Kill | None = None) -> list[str]:
    """To be put before a command: its main thread's calls go to ``file``."""
    words = ["strace", "-D", "-qq", "-y", "-o", str(file), "-e", f"trace={','.join(CALLS)}"]
    return [*words, "-e", f"inject={kill.call}:signal=KILL:when={kill.number}"] if kill else words


def counted(file: Path) -> "collections.Counter[str]":
    """How often each call was made."""
    return collections.Counter(re.findall(r"^(\w+)\(", file.read_text(errors="replace"), re.MULTILINE))


def every(counts: "collections.Counter[str]") -> list[Kill]:
    """One kill for each of these calls, but for the first execve, which is the program itself."""
    kills = [Kill(call, number) for call in CALLS for number in range(1, counts[call] + 1)]
    return [kill for kill in kills if kill != Kill("execve", 1)]


def some(kills: Sequence[Kill], count: int, chance: random.Random) -> list[Kill]:
    """By chance, each kind of call about as often as any other."""
    calls = sorted({kill.call for kill in kills})
    found: list[Kill] = []
    while len(found) < min(count, len(kills)):
        left = [one for one in kills if one.call == calls[len(found) % len(calls)] and one not in found]
        found.append(chance.choice(left or [one for one in kills if one not in found]))
    return found


class Witness:
    """Reads the record all the time, and what its users met: ``wrong`` is all that may never be."""

    def __init__(self, host: LocalHost, users: Users) -> None:
        self.host, self.users, self.unreadable = host, users, list[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Witness":
        self.users.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.users.__exit__()

    def wrong(self, kills: int) -> list[str]:
        """``kills``: so many intents may stand alone in the history."""
        found = [f"a request failed: {one.what} ({one.ended - one.began:.2f} s)" for one in self.users.troubles]
        return [*found, *self.unreadable, *self.host.two_on_a_card, *history_faults(self.host, kills)]

    def _read(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            try:
                if self.host.state().serving is None:
                    self.unreadable.append("the record is gone")
            except (Refused, OSError) as error:
                self.unreadable.append(str(error))


def history_faults(host: LocalHost, kills: int) -> list[str]:
    """Each intent has its result, or it alone is there; what is recorded is what the last one said."""
    events, found = host.history(), list[str]()
    intents = [one["id"] for one in events if one["event"] == "intent"]
    results = [one["id"] for one in events if one["event"] == "result"]
    found += [f"a result without an intent: {one}" for one in results if one not in intents]
    found += [f"{name} has {count} entries" for name, count in collections.Counter(results).items() if count > 1]
    alone = [one for one in intents if one not in results]
    if len(alone) > kills:
        found.append(f"{len(alone)} intents have no result after {kills} kills")
    last = next(one for one in reversed(events) if one["event"] == "intent" or one["outcome"] == "done")
    wanted, now = last.get("state") or last["to"], host.state()
    if last["event"] == "result" and (wanted["state"], wanted["serving"]) != (now.phase, now.serving):
        found.append(f"the record says {now.phase} from {now.serving}, the history {wanted['state']}")
    return found


def ended(host: LocalHost) -> tuple[str, str, tuple[str, ...]]:
    """Outcome of the last rollout, the slot that serves, the engines that run."""
    now = host.state()
    return now.past.outcome if now.past else "", now.serving or "", tuple(sorted(host.running()))


FINISHED: Final = ("finished", "green", ("vllm-green-0", "vllm-green-1"))
UNDONE: Final = ("undone", "blue", ("vllm-blue-0", "vllm-blue-1"))


def settled(host: LocalHost, wanted: tuple[str, str, tuple[str, ...]], seconds: float = 20) -> None:
    """Waits until it has ended so: what is stopped takes its time."""
    end = time.monotonic() + seconds
    while ended(host) != wanted:
        assert time.monotonic() < end, f"{ended(host)} is not {wanted}\n{host.told()}"
        time.sleep(0.05)


def users() -> Users:
    return Users(MODEL, KEY, count=2, pause_seconds=0.1)


def exposed(host: LocalHost) -> None:
    """At 50 %, and the router asks both: what is recorded is routed a moment later."""
    host.until(lambda: host.in_phase("shifting", 50)() and host.state().slots["green"].weight == 50, 90)
    host.until(lambda: "18201" in (host.paths.split / "engine.conf").read_text() and served(host) == wanted(host))
    time.sleep(SETTLED_SECONDS)


def served(host: LocalHost) -> str:
    """The split that the router uses."""
    return get(STATUS_PORT["tandem-router-engine"], "/split").text.strip()


def wanted(host: LocalHost) -> str:
    return split_revision((host.paths.split / "engine.conf").read_text())
