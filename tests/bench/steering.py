"""Steers rollouts on a rehearsal host as its operator does, and sees from the host itself what happens when."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tandem.domain.slots import engine_port, engine_unit
from tandem.rehearsal import host
from tandem.rehearsal.access import CLIENT, USER
from tandem.rehearsal.inventory import STATE, hosts
from tests.bench.door import Door
from tests.bench.timeline import Event
from tests.e2e.site import Site
from tests.faults.deploying import ROOT, Workplace
from tests.faults.onhost import OnHost

PROGRAMS: Final = Path(__file__).parent / "programs"
LOAD_CLIENT: Final = "bench"
PATIENT: Final = {"requests_per_second": 5000, "burst": 5000, "streams": 500}
LOOK_SECONDS: Final = 1.0
FLIP_LIMIT_SECONDS: Final = 60.0
MODEL: Final = "gpt-oss-20b"


class Stuck(Exception):
    """The host did not get there in time."""


@dataclass(frozen=True)
class Flip:
    """An order and when the router confirmed it. ``seconds`` None: not in time. ``at``: monotonic time of the order.

    ``recorded``: seconds from the order until the decision was on record; None when that was not seen.
    """

    seconds: float | None
    said: str
    at: float
    recorded: float | None = None

    @property
    def since_record(self) -> float | None:
        """Seconds from the decision until the router served it."""
        return None if self.seconds is None else self.seconds - (self.recorded or 0.0)


@dataclass
class Steering:
    """``upgrade``: what the inventory says of pacing, beside what the rehearsal's says already.

    ``changes``: to the rest of the inventory's data.
    """

    name: str
    folder: Path
    upgrade: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    limit_seconds: float = 1800.0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.there = OnHost(self.name)
        self.workplace = Workplace(self.folder / "work")
        if not (cases := self.folder / "work/cases").exists():
            cases.symlink_to(ROOT / "cases")
        known = dict(hosts(STATE))
        if self.name not in known:
            raise SystemExit(f"there is no rehearsal host {self.name}: run `make rehearse` first")
        self._data = {**known[self.name], **self.changes}

    def install(self) -> None:
        """With a client whose limits the load does not meet. Raises RuntimeError when the run failed."""
        self._checked(self.workplace.run(self._inventory(), "deploys/install.py"))

    def begin(self, release: str, **pacing: Any) -> None:
        """Returns once the guard has taken it over. Raises RuntimeError when the run failed."""
        # It was undone before, where a rollback or a fault was measured.
        data = ("--data", f"release={release}", "--data", "again=true")
        self._checked(self.workplace.run(self._inventory(**pacing), "deploys/upgrade.py", *data))

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.there.shell("cat /var/lib/tandem/state.json"))
        return found

    def until(self, what: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The state as soon as it is so. Raises Stuck."""
        end = time.monotonic() + self.limit_seconds
        while not true(state := self.state()):
            if time.monotonic() > end:
                raise Stuck(f"{what}: not after {self.limit_seconds:.0f} s; state {state['state']}, {state['held']}")
            time.sleep(LOOK_SECONDS)
        return state

    def flip(self, order: list[str], slot: str, share: float) -> Flip:
        """Runs ``order`` on the host until the router gives ``slot`` this share."""
        asked = {"order": order, "slot": slot, "share": share, "limit_seconds": FLIP_LIMIT_SECONDS}
        head = f"QUESTION = {json.dumps(asked)!r}\n"
        text = head + (PROGRAMS / "flip.py").read_text()
        found = json.loads(self.there.shell(f"python3 -I - <<'PROGRAM'\n{text}PROGRAM\n"))
        return Flip(found["seconds"], found["said"], found["monotonic"], found["recorded"])

    def kill(self, slot: str, card: int, old: str) -> Flip:
        """kill -9 of one engine's first process, until ``old`` has all."""
        unit = engine_unit(slot, card)
        pid = self.there.shell("podman inspect --format '{{.State.Pid}}' " + unit).strip()
        return self.flip(["kill", "-9", pid], old, 100)

    def cards(self, slot: str) -> list[int]:
        """Cards on which an engine of ``slot`` runs now."""
        asked = self.state()["slots"][slot]["asked"]
        return [card for card in range(8) if engine_port(slot, card) in asked]

    def door(self) -> Door:
        """How the load gets in: key and cookie of the host as it is now."""
        logins = json.loads(self.there.shell("tandemctl credentials --json"))
        ca_file = self.folder / "ca.crt"
        ca_file.write_text(self.there.shell(f"cat {logins['ca_file']}"))
        address = host.load(STATE, self.name).address
        access = {
            "url": f"https://{address}",
            "ca_file": str(ca_file),
            "basic_user": USER,
            "basic_password": logins["passwords"][USER],
            "api_key": logins["keys"][CLIENT],
            "model": MODEL,
        }
        cookie = Site(access).cookie["Cookie"]
        port = urlsplit(access["url"]).port or 443
        return Door(address, port, logins["keys"][LOAD_CLIENT], MODEL, str(ca_file), cookie)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """``events`` grows with all that changes meanwhile, with the times of the host's own clock, which is ours."""
        with tempfile.TemporaryFile("w+") as program:
            program.write((PROGRAMS / "watching.py").read_text())
            program.seek(0)
            command = [*host.load(STATE, self.name).ssh("root"), "python3", "-I", "-"]
            process = subprocess.Popen(command, stdin=program, stdout=subprocess.PIPE, text=True)
        reading = threading.Thread(target=self._read, args=(process,))
        reading.start()
        try:
            yield
        finally:
            process.terminate()
            process.wait()
            reading.join()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        with process.stdout as lines:
            for line in lines:
                self.events.append(Event(**json.loads(line)))

    def _inventory(self, **pacing: Any) -> str:
        edge = self._data["edge"]
        given = dict(self._data.get("upgrade", {}))
        changes = {
            **self.changes,
            "edge": {**edge, "clients": {**edge["clients"], LOAD_CLIENT: PATIENT}},
            "upgrade": {**given, **self.upgrade, **pacing},
        }
        return self.workplace.inventory(self.name, changes)

    def _checked(self, ended: Any) -> None:
        if ended.status:
            raise RuntimeError(f"pyinfra exited {ended.status}:\n{ended.output[-4000:]}")
