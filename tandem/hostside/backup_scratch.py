"""A scratch Open WebUI on a copy of the data: proof that the data starts, that people can sign in and find their chats.

It runs in the image that serves, in a container without any network, and is asked from inside. It may change its copy
(a start migrates the database), so that copy is thrown away, or is what serves next. Runs on the host, as root.
"""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tandem.domain.slots import UIDS
from tandem.hostside import sqlite_copy
from tandem.hostside.backup_person import NotProven, Person, administrator, password_lent
from tandem.hostside.files import write_atomic

PREFIX: Final = "tandem-scratch-webui"
PROGRAM: Final = "ask_webui.py"
PORT: Final = 8080
READY_SECONDS: Final = 300.0
COMMAND_SECONDS: Final = READY_SECONDS + 120
CONTAINER_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.3
MEMORY: Final = "3G"
DATABASE: Final = "webui.db"


@dataclass(frozen=True)
class Webui:
    """How an Open WebUI is run, as its unit file says. ``environment`` without secrets."""

    image: str
    email: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Proof:
    """What was seen: rows after the start, seconds until it was ready, whether a chat was read as a person reads it.

    ``own_password``: whether the administrator's password is the one that the host knows.
    """

    users: int
    chats: int
    start_seconds: float
    chat_read: bool
    own_password: bool

    @property
    def sentence(self) -> str:
        read = ", one of them read" if self.chat_read else ""
        lent = "" if self.own_password else " with a password lent for this (theirs was changed in Open WebUI)"
        return (
            f"a scratch Open WebUI started on it in {self.start_seconds:.0f} s; the administrator signed in{lent}; "
            f"{self.users} people, {self.chats} chats{read}"
        )


def unit_of(text: str) -> Webui:
    """From the text of a container unit. Raises NotProven for one that names no image or administrator."""
    image = re.search(r"^Image=(\S+)$", text, re.MULTILINE)
    pairs = re.findall(r'^Environment="?([A-Z_a-z0-9]+)=(.*?)"?$', text, re.MULTILINE)
    environment = {name: value.replace('\\"', '"').replace("%%", "%") for name, value in pairs}
    if not image or "WEBUI_ADMIN_EMAIL" not in environment:
        raise NotProven("the WebUI's unit file names no image or no administrator: run install again")
    return Webui(image[1], environment["WEBUI_ADMIN_EMAIL"], environment)


def prove(webui: Webui, data: Path, keys: Mapping[str, str], scratch: Path, users: int, chats: int) -> Proof:
    """Start it on ``data`` (its own copy) and compare with the expected rows; always ends it again.

    ``keys``: the secrets by name that it runs with. ``scratch``: an existing folder for root alone. Raises NotProven.
    """
    name = f"{PREFIX}-{secrets.token_hex(4)}"
    database = data / DATABASE
    person = administrator(database, webui.email)
    settings = scratch / f"{name}.env"
    write_atomic(settings, _settings(webui, keys), "0600")
    own = True
    try:
        _command(_start(name, webui.image, data, settings), "could not be started")
        _await(name)
        seen = _ask(name, person, keys["webui_admin_password"])
        if seen["seconds"] is not None and not seen["signed_in"]:
            own = False
            with password_lent(database, person) as password:
                seen = _ask(name, person, password)
    finally:
        end(name)
        settings.unlink(missing_ok=True)  # while it is there, the next run looks for what this one left
    return _proof(seen, sqlite_copy.count(database, ("user", "chat")), users, chats, person, own)


def _await(name: str) -> None:
    """Until its container runs; what it serves is asked later."""
    ends = time.monotonic() + CONTAINER_SECONDS
    looking = _outside(["podman", "container", "inspect", "--format={{.State.Running}}", name], pipe=True)
    while time.monotonic() < ends:
        seen = subprocess.run(
            looking, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if seen.stdout.strip() == "true":
            return
        active = ["systemctl", "is-active", "--quiet", f"{name}.service"]
        if subprocess.run(active, stdin=subprocess.DEVNULL, timeout=30, check=False).returncode:
            break
        time.sleep(PAUSE_SECONDS)
    raise NotProven("the scratch Open WebUI's container does not run (is its image there, and enough memory?)")


def _ask(name: str, person: Person, password: str) -> dict[str, Any]:
    order = {
        "port": PORT,
        "email": person.email,
        "password": password,
        "chat": person.chat,
        "seconds": READY_SECONDS,
    }
    program = Path(__file__).with_name(PROGRAM).read_text(encoding="utf-8")
    command = _outside(["podman", "exec", "--interactive", name, "python3", "-c", program], pipe=True)
    try:
        seen: dict[str, Any] = json.loads(_command(command, "could not be asked", json.dumps(order)))
        return seen
    except ValueError:
        raise NotProven("the scratch Open WebUI gave no answer that could be read") from None


def end(name: str) -> None:
    """Stop one, and its container. One that is not there is no error."""
    for command in (
        _outside(["podman", "rm", "--force", "--ignore", "--time", "2", name], pipe=True),
        ["systemctl", "stop", f"{name}.service"],
        ["systemctl", "reset-failed", f"{name}.service"],
    ):
        # What does not end now has its own time limit; a backup does not fail for it.
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False)


def end_all() -> None:
    """Those that a run which was cut short left behind."""
    listed = subprocess.run(
        ["systemctl", "list-units", "--plain", "--no-legend", "--all", f"{PREFIX}-*.service"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    for line in listed.stdout.splitlines():
        end(line.split()[0].removesuffix(".service"))


def _start(name: str, image: str, data: Path, settings: Path) -> list[str]:
    uid = UIDS["tandem-webui"]
    words = ["podman", "run", "--rm", "--replace", f"--name={name}", "--pull=never", "--network=none"]
    words += [f"--user={uid}:{uid}", "--cap-drop=all", "--security-opt=no-new-privileges", "--read-only"]
    words += ["--read-only-tmpfs", "--cgroups=split", f"--env-file={settings}", f"--volume={data}:/data"]
    # Its log may hold what people wrote.
    return _outside([*words, "--log-driver=none", image], pipe=False, name=name)


def _outside(command: list[str], *, pipe: bool, name: str = "") -> list[str]:
    """The command as a unit of its own: the backup's own unit is closed to what Podman needs."""
    words = ["systemd-run", "--quiet", "--collect", "--property=Nice=10", "--property=CPUWeight=20"]
    if pipe:
        return [*words, "--pipe", "--wait", "--", *command]
    limits = ["Delegate=yes", f"MemoryMax={MEMORY}", f"RuntimeMaxSec={2 * COMMAND_SECONDS:.0f}", "TimeoutStopSec=10"]
    limits += ["StandardOutput=null", "StandardError=null"]
    return [*words, f"--unit={name}", *(f"--property={limit}" for limit in limits), "--", *command]


def _command(command: list[str], problem: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotProven(f"the scratch Open WebUI {problem} in {COMMAND_SECONDS:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise NotProven(f"the scratch Open WebUI {problem}: {said[0][:300]}")
    return done.stdout


def _settings(webui: Webui, keys: Mapping[str, str]) -> str:
    pairs = {
        **webui.environment,
        "HOST": "127.0.0.1",
        "PORT": str(PORT),
        "OPENAI_API_KEY": "none",
        "WEBUI_ADMIN_PASSWORD": keys["webui_admin_password"],
        "WEBUI_SECRET_KEY": keys["webui_secret_key"],
    }
    return "".join(f"{name}={value}\n" for name, value in pairs.items())


def _proof(
    seen: Mapping[str, Any], rows: Mapping[str, int], users: int, chats: int, person: Person, own: bool
) -> Proof:
    if seen["problem"]:
        raise NotProven(seen["problem"])
    if (rows["user"], rows["chat"]) != (users, chats):
        raise NotProven(
            f"after its start there are {rows['user']} people and {rows['chat']} chats instead of {users} and {chats}"
        )
    if seen["users"] != users:
        raise NotProven(f"Open WebUI shows {seen['users']} people instead of {users}")
    if person.chat and not seen["chat"]:
        raise NotProven("Open WebUI does not show a chat that is in its database")
    return Proof(users, chats, float(seen["seconds"]), bool(person.chat), own)
