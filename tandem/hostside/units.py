"""What systemd says about units: their state, and their last log lines with secrets masked."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.domain.secrets import OLD, OPTIONAL, SINGLE
from tandem.hostside.paths import Paths

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "Job")
COMMAND_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Unit:
    """A service as ``systemctl show`` describes it. ``restarts`` counts automatic restarts."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int
    queued: bool


def show(names: Sequence[str]) -> dict[str, Unit]:
    """The services of these names; {} when systemd cannot be asked (then only their answers count)."""
    services = [f"{name}.service" for name in names]
    output = _output(["systemctl", "show", "--property", ",".join(PROPERTIES), *services])
    units = [_unit(block) for block in output.strip().split("\n\n") if block]
    return {unit.name: unit for unit in units}


def reload(name: str) -> bool:
    """Let a running service read its files again; one that does not run is left alone.

    Returns whether it runs. Raises SubprocessError if the reload fails or systemd cannot be asked.
    """
    unit = show([name]).get(name)
    if unit and unit.active not in ("active", "reloading", "activating"):
        return False
    _run(["systemctl", "try-reload-or-restart", f"{name}.service"]).check_returncode()
    return True


def restart(name: str) -> None:
    """Stop and start a service. Raises SubprocessError if that fails."""
    _run(["systemctl", "restart", f"{name}.service"]).check_returncode()


def start(name: str) -> None:
    """Queue the start of a service, also of one that failed. Raises SubprocessError if systemd takes no order."""
    _run(["systemctl", "reset-failed", f"{name}.service"])
    _run(["systemctl", "start", "--no-block", f"{name}.service"]).check_returncode()


def stop(name: str) -> None:
    """Queue the stop of a service. Raises SubprocessError if systemd takes no order."""
    _run(["systemctl", "stop", "--no-block", f"{name}.service"]).check_returncode()


def restart_soon(name: str) -> None:
    """Queue a restart of a service. Raises SubprocessError if systemd takes no order."""
    _run(["systemctl", "reset-failed", f"{name}.service"])
    _run(["systemctl", "restart", "--no-block", f"{name}.service"]).check_returncode()


def last_lines(name: str, count: int, paths: Paths) -> list[str]:
    """The last lines a service wrote to the journal, without control characters, every known secret masked."""
    output = _output(["journalctl", "--no-pager", "--output=cat", f"--unit={name}.service", f"--lines={count}"])
    hidden = known_secrets(paths.secrets)
    return [_printable(mask(line, hidden)) for line in output.splitlines()]


def known_secrets(folder: Path) -> dict[str, str]:
    """Each secret that is there, also one that is about to be used, with its name."""
    files = [folder / name for name in (*SINGLE, *OPTIONAL, *OLD.values())] + [
        path for kind in OLD for path in (folder / kind).glob("*")
    ]
    files += folder.glob("*.next")
    values = {path.read_text(encoding="utf-8").strip(): path for path in files if path.is_file()}
    return {value: str(path.relative_to(folder)) for value, path in values.items() if value}


def mask(text: str, hidden: dict[str, str]) -> str:
    """``text`` with each of these secrets replaced by its name; longer secrets first."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, f"[{hidden[secret]}]")
    return text


def _unit(block: str) -> Unit:
    said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    restarts = said.get("NRestarts", "")
    return Unit(
        name=said.get("Id", "").removesuffix(".service"),
        load=said.get("LoadState", ""),
        active=said.get("ActiveState", ""),
        sub=said.get("SubState", ""),
        result=said.get("Result", ""),
        restarts=int(restarts) if restarts.isdecimal() else 0,
        queued=said.get("Job", "0") not in ("", "0"),
    )


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in line)


def _output(command: list[str]) -> str:
    """What a command prints; "" if it cannot be run, fails or takes too long."""
    try:
        done = _run(command)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
