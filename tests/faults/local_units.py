"""Services of a host made of processes: started, stopped, restarted and described as systemd does it."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

STOP_SECONDS: Final = 20.0


@dataclass
class Service:
    """``command``: what runs, None while there is no such unit; ``may_start``: its condition."""

    name: str
    command: Callable[[], tuple[list[str], Mapping[str, str]] | None]
    may_start: Callable[[], bool] = lambda: True
    restart_seconds: float | None = 1.0
    reloads: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    active: str = "inactive"
    result: str = "success"
    restarts: int = 0
    started: float = 0.0
    stopping: bool = False
    ends: threading.Event = field(default_factory=threading.Event)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def show(self) -> dict[str, str]:
        loaded = self.command() is not None
        running = self.active in ("active", "deactivating")
        return {
            "Id": f"{self.name}.service",
            "LoadState": "loaded" if loaded else "not-found",
            "ActiveState": self.active,
            "SubState": {"active": "running", "activating": "auto-restart"}.get(self.active, "dead"),
            "Result": self.result,
            "NRestarts": str(self.restarts),
            "Job": "0",
            "MainPID": str(self.process.pid) if running and self.process else "0",
            "ExecMainStartTimestampMonotonic": str(int(self.started * 1e6)),
        }


class Units:
    """Answers systemctl on a socket until ``close``. ``before_start`` is told of each unit that starts."""

    def __init__(self, address: Path, log: Path, before_start: Callable[[str], None]) -> None:
        self.address, self._log, self._before_start = address, log, before_start
        self.services: dict[str, Service] = {}
        self._lock = threading.RLock()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.bind(str(address))
        self._line.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def add(self, service: Service) -> None:
        with self._lock:
            self.services[service.name] = service

    def start(self, name: str) -> None:
        with self._lock:
            one = self.services[name]
            if one.alive or one.active == "activating" or not one.may_start():
                return
            one.restarts = 0
            self._run(one)

    def stop(self, name: str, wait: bool = True) -> None:
        with self._lock:
            one = self.services[name]
            one.stopping = True
            process = one.process
            if not one.alive or process is None:
                one.active, one.result = "inactive", "success"
                return
            one.active = "deactivating"
            _signal(process, signal.SIGTERM)
            _signal(process, signal.SIGCONT)
        threading.Thread(target=_end_at_last, args=(process,), daemon=True).start()
        if wait:
            process.wait()
            self._until(lambda: one.active == "inactive")

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """As a crash: nobody asked for it."""
        process = self.services[name].process
        assert process is not None
        _signal(process, number)

    def power_off(self) -> None:
        """Everything ends at once, and nothing is started again."""
        with self._lock:
            for one in self.services.values():
                one.stopping = True
        for one in self.services.values():
            if one.process is not None:
                _signal(one.process, signal.SIGKILL)
                one.process.wait()
            one.active, one.result, one.restarts, one.started = "inactive", "success", 0, 0.0

    def close(self) -> None:
        self.power_off()
        self._line.close()

    def _run(self, one: Service) -> None:
        found = one.command()
        if found is None:
            return
        self._before_start(one.name)
        command, environment = found
        one.stopping, one.result = False, "success"
        with self._log.open("ab") as log:
            log.write(f"--- {time.clock_gettime(time.CLOCK_BOOTTIME):.2f} {one.name} starts\n".encode())
            log.flush()
            one.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip
        one.active, one.started = "active", time.monotonic()
        threading.Thread(target=self._watch, args=(one, one.process), daemon=True).start()

    def _watch(self, one: Service, process: "subprocess.Popen[bytes]") -> None:
        status = process.wait()
        with self._lock:
            if one.stopping or (status == 0 and one.restart_seconds is None):
                one.active = "inactive"
                return
            one.result = "signal" if status < 0 else "exit-code"
            one.active = "failed" if one.restart_seconds is None else "activating"
        if one.restart_seconds is None:
            return
        time.sleep(one.restart_seconds)
        with self._lock:
            if one.stopping or one.active != "activating":
                return
            one.active = "inactive"
            if one.may_start():
                one.restarts += 1
                self._run(one)

    def _until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + STOP_SECONDS
        while not true() and time.monotonic() < end:
            time.sleep(0.005)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._line.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            words = json.loads(line.makefile("rb").readline())
            status, text = self._systemctl(words)
            line.sendall(json.dumps({"status": status, "text": text}).encode())

    def _systemctl(self, words: list[str]) -> tuple[int, str]:
        options = [word for word in words if word.startswith("--")]
        action, *names = [word for word in words if not word.startswith("--")]
        if action == "show":
            wanted, *names = names
            blocks = (self._block(name.removesuffix(".service"), wanted.split(",")) for name in names)
            return 0, "\n\n".join(blocks) + "\n"
        for name in (one.removesuffix(".service") for one in names):
            if (status := self._act(action, name, "--no-block" in options)) != 0:
                return status, ""
        return 0, ""

    def _block(self, name: str, wanted: list[str]) -> str:
        one = self.services.get(name) or Service(name, lambda: None)
        with self._lock:
            said: dict[str, Any] = one.show()
        return "\n".join(f"{key}={said[key]}" for key in wanted if key in said)

    def _act(self, action: str, name: str, at_once: bool) -> int:
        one = self.services.get(name)
        if one is None or one.command() is None:
            return 5
        if action == "try-reload-or-restart":
            if one.reloads and one.alive:
                self.kill(name, signal.SIGHUP)
        elif action == "start":
            self.start(name)
        elif action == "stop":
            self.stop(name, wait=not at_once)
        elif action == "restart":
            if at_once:
                threading.Thread(target=self.restart, args=(name,), daemon=True).start()
            else:
                self.restart(name)
        elif action == "reset-failed":
            with self._lock:
                one.restarts = 0
        else:
            return 2
        return 0


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """SIGKILL ends its whole group, as systemd does with what is left of a service."""
    with suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _end_at_last(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
