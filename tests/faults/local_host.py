"""A host made of processes of this machine, in a network of its own, so that the fixed ports are free.

Real: both Nginx routers as rendered, tandemctl, guard and prober, and engines with knobs. A stand-in at the outermost
edge: systemctl and journalctl (``programs/local_systemctl.py``). Needs root.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tandem.config.case_files import document
from tandem.domain.rollout import Refused, State
from tandem.domain.slots import engine_port, engine_unit
from tandem.hostside import state as record
from tandem.hostside.paths import Paths
from tandem.hostside.sight import read_sight
from tandem.rehearsal.programs.knobs.settings import Knobs, variables
from tandem.render.router import ENGINE, WEBUI
from tests.faults.bad_releases import cases
from tests.faults.local_services import (
    KEY,
    MODEL,
    PROGRAMS,
    ROOT,
    engine_service,
    network,
    router_service,
    stand_ins,
)
from tests.faults.local_units import Service, Units
from tests.unit.nginx_process import ask as get

CARDS: Final = (0, 1)
GOOD: Final = Knobs(first_seconds=0.01, gap_seconds=0.003)
QUICK_CASES: Final = ("author-of-hamlet", "capital-of-australia", "capital-of-canada", "chinese-fact", "gold-symbol",
                      "german-fact", "https-port", "json-choice", "json-list", "json-person", "json-without-stream",
                      "largest-planet", "letters-in-order", "one-word", "year-of-moon-landing")  # fmt: skip
PACING: Final = {"weights": [50, 100], "window_seconds": 0.5, "soak_seconds": 0.5, "most_extensions": 200}
LIMITS: Final = {"first_token_seconds": 10.0, "total_seconds": 20.0, "token_gap_seconds": 5.0}
COMPARISON: Final = {"pair_seconds": 0.0, "requests": 20, "pairs": 10, "cases": 7, "margin": 20.0, "hang_seconds": 6.0,
                     "limits_seconds": LIMITS}  # fmt: skip
"""No time decides here: the machine is shared with whatever else is tested."""
SETTINGS: Final = {"hang_seconds": 6.0, "ready_seconds": 25.0, "drain_seconds": 20.0}


@dataclass(frozen=True)
class Said:
    """How a command of tandemctl ended."""

    status: int
    out: str
    error: str


class LocalHost:
    """Release ``a`` serves from blue on two cards after ``install``; ``declare`` puts another one beside it.

    ``quick``: the guard looks five times a second. ``disk_mib``: size of the disk with the record; None: no limit.
    ``prefix``, ``environment``: of every program of Tandem.
    """

    def __init__(
        self, folder: Path, quick: bool = True, settings: Mapping[str, float] = SETTINGS, disk_mib: int | None = None
    ) -> None:
        self.folder, self.root, self.quick = folder, folder / "host", quick
        self.paths, self.prefix, self.environment = Paths(self.root), list[str](), dict[str, str]()
        self.two_on_a_card = list[str]()
        self.guard: subprocess.Popen[bytes] | None = None
        self.disk = self.root / "var/lib/tandem"
        self.disk.mkdir(parents=True)
        self._mounted = disk_mib is not None
        if self._mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "tandem", str(self.disk)], check=True)
        for path in ("etc/tandem/secrets", "run/lock", "run/tandem", "etc/containers/systemd", "var/lib/tandem/prober",
                     "var/lib/tandem/split", "credentials"):  # fmt: skip
            (self.root / path).mkdir(parents=True)
        self.paths.upstream_key.write_text(KEY)
        (self.root / "credentials/upstream_key").write_text(KEY)
        chosen = [case for case in cases() if case.name in QUICK_CASES]
        (self.root / "credentials/cases").write_text(document(chosen))
        self.settle(settings)
        self._new_boot()
        stand_ins(folder)
        self.log = folder / "log"
        self.units = Units(folder / "systemctl.sock", self.log, self._before_start)
        for router in (ENGINE, WEBUI):
            self.units.add(router_service(router, folder, self.paths))
        engines = [(slot, card) for slot in ("blue", "green") for card in CARDS]
        for slot, card in engines:
            self.units.add(engine_service(slot, card, self.paths))
        self.units.add(Service("tandem-prober", lambda: (self._program("prober"), self._environment()),
                               restart_seconds=None))  # fmt: skip

    def install(self) -> None:
        self._start_routers()
        self.declare("blue", GOOD)
        for card in CARDS:
            self.units.start(engine_unit("blue", card))
        self.until(lambda: all(_listens(engine_port("blue", card)) for card in CARDS), 30)
        done = self.tandemctl(
            "adopt", "--release", "a", "--digest", "a" * 16, "--slot", "blue", "--engine-ports", "18100,18101",
            "--webui-port", "18300", "--model", MODEL, "--revision", "r", "--image", "image@sha256:a",
        )  # fmt: skip
        assert done.status == 0, done
        done = self.tandemctl("upgrade", "prepare", "--slot", "green", "--cards", "0,1")
        assert done.status == 0, done
        self.declare("green", GOOD)

    def declare(self, slot: str, knobs: Knobs) -> None:
        """The unit files of a release in this slot."""
        lines = [f'Environment="{name}={value}"' for name, value in variables(knobs).items()]
        for card in CARDS:
            path = self.paths.containers / f"{engine_unit(slot, card)}.container"
            path.write_text("\n".join(["[Container]", *lines, ""]))

    def order(self, release: str = "b", **changed: Any) -> dict[str, Any]:
        """What deploys/upgrade.py sends."""
        usual = {
            "slot": "green", "cards": list(CARDS), "release": release, "digest": release * 16, "model": MODEL,
            "revision": "r", "image": f"image@sha256:{release}", "strategy": "take-turns", "convert_at": "soak_end",
            "pacing": PACING, "comparison": COMPARISON, "allow_gap": False,
        }  # fmt: skip
        return {**usual, **changed}

    def begin(self, prefix: Sequence[str] = (), **changed: Any) -> Said:
        return self.tandemctl("upgrade", "begin", given=json.dumps(self.order(**changed)), prefix=prefix)

    def tandemctl(self, *words: str, given: str = "", prefix: Sequence[str] = ()) -> Said:
        command = [*prefix, *self._program(*words)]
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, env=self._whole_environment(), timeout=60, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start_guard(self, prefix: Sequence[str] = ()) -> None:
        with self.log.open("ab") as log:
            self.guard = subprocess.Popen(
                [*prefix, *self._program("guard")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._whole_environment(),
            )  # fmt: skip

    def guard_died(self) -> bool:
        return self.guard is not None and self.guard.poll() is not None

    def kill_guard(self) -> None:
        if self.guard is not None:
            self.guard.kill()
            self.guard.wait()

    def power_off(self) -> None:
        """Everything ends at once; what is in /run is gone."""
        self.kill_guard()
        # What asks ends first: at a power cut nobody sees the others end.
        self.units.services["tandem-prober"].stopping = True
        if self.units.services["tandem-prober"].alive:
            self.units.kill("tandem-prober")
        self.units.power_off()
        shutil.rmtree(self.root / "run")
        for path in ("run/lock", "run/tandem"):
            (self.root / path).mkdir(parents=True)
        self._new_boot()

    def boot(self) -> None:
        """Routers, and every engine that its condition lets start; then the guard."""
        self._start_routers()
        for slot in ("blue", "green"):
            for card in CARDS:
                self.units.start(engine_unit(slot, card))
        self.start_guard()

    def close(self) -> None:
        self.kill_guard()
        self.units.close()
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    def state(self) -> State:
        """Raises Refused for one that can't be read."""
        return record.load(self.paths.state)

    def until(self, true: Callable[[], bool], seconds: float = 60, guarded: bool = False) -> float:
        """Seconds that it took. ``guarded``: a guard that ends is started again, as systemd does."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() < began + seconds, f"not so after {seconds} s\n{self.told()}"
            if guarded and self.guard_died():
                self.start_guard()
            time.sleep(0.02)
        return time.monotonic() - began

    def in_phase(self, phase: str, weight: int = 0) -> Callable[[], bool]:
        def true() -> bool:
            now = self.state()
            return now.phase == phase and (now.rollout.weight if now.rollout else 0) >= weight

        return true

    def over(self) -> bool:
        return self.state().rollout is None

    def told(self) -> str:
        """For a failure's message."""
        lines = self.log.read_text(errors="replace").splitlines()[-30:] if self.log.exists() else []
        with suppress(Refused):
            now = self.state()
            lines.append(f"{now.phase}, held: {now.held}, serving {now.serving}, past {now.past}")
            lines += [f"{name}: {slot.weight} % at {slot.asked}" for name, slot in now.slots.items()]
        return "\n".join([*lines, json.dumps(read_sight(self.paths))])

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.paths.history.read_text().splitlines()]

    def settle(self, settings: Mapping[str, float]) -> None:
        self.paths.guard_settings.write_text(json.dumps(settings))

    def running(self) -> set[str]:
        """The engines whose processes live."""
        return {name for name, one in self.units.services.items() if name.startswith("vllm-") and one.alive}

    def _start_routers(self) -> None:
        """Until their workers answer: a reload that is asked for earlier waits until the master's next signal."""
        for router in (ENGINE, WEBUI):
            self.units.start(router.unit)
        self.until(lambda: all(_answers(router.status_port) for router in (ENGINE, WEBUI)), 30)

    def _before_start(self, name: str) -> None:
        slot, _, card = name.removeprefix("vllm-").partition("-")
        other = {"blue": "green", "green": "blue"}.get(slot)
        if other and self.units.services[f"vllm-{other}-{card}"].alive:
            self.two_on_a_card.append(f"{name} was started while vllm-{other}-{card} ran")

    def _program(self, *words: str) -> list[str]:
        quick = ["--quick"] if self.quick else []
        program = [sys.executable, "-B", str(PROGRAMS / "local_tandem.py"), str(self.root)]
        return [*self.prefix, *program, *quick, *words]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CREDENTIALS_DIRECTORY": str(self.root / "credentials"),
            **self.environment,
        }

    def _whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment()}

    def _new_boot(self) -> None:
        (self.root / "boot_id").write_text(f"{uuid.uuid4()}\n")


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/config").status == 200
    return False


@contextmanager
def local_host(folder: Path, **more: Any) -> Iterator[LocalHost]:
    """Installed and serving, with a guard that has seen both engines complete a request; nothing is left of it."""
    with network():
        host = LocalHost(folder, **more)
        try:
            host.install()
            host.start_guard()
            host.until(lambda: _ready(host) == {"vllm-blue-0", "vllm-blue-1"}, 30)
            yield host
        finally:
            host.close()


def _ready(host: LocalHost) -> set[str]:
    seen = read_sight(host.paths) or {}
    return {name for name, one in seen.get("engines", {}).items() if one["ready"]}
