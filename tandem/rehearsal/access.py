"""How to reach what the rehearsal host serves: .rehearsal/access.json, and one real streamed answer."""

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tandem.rehearsal import host, rootfs
from tandem.rehearsal.shell import RehearsalError, run

QUESTIONS = Path(__file__).parent / "questions.json"
ANSWER_SECONDS = 120
USER, CLIENT = "team", "default"
"""Whose logins tests take, of those in group_data/rehearsal.py."""


def grant(state: Path, name: str, report: Callable[[str], None]) -> None:
    """Writes access.json (mode 0600) and asks one question through the edge, with the key and certificate in it."""
    one = host.load(state, name)
    logins = json.loads(run([*one.ssh("root"), "tandemctl", "credentials", "--json"]))
    ca_file = state / f"{name}-ca.crt"
    ca_file.write_text(run([*one.ssh("root"), "cat", logins["ca_file"]]))
    found = {
        "url": f"https://{one.address}",
        "ca_file": str(ca_file),
        "basic_user": USER,
        "basic_password": logins["passwords"][USER],
        "passwords": logins["passwords"],
        "api_key": logins["keys"][CLIENT],
        "keys": logins["keys"],
        "model": "gpt-oss-20b",
        "webui_email": "admin@rehearsal.example",
        "webui_password": logins["webui_admin_password"],
        "ssh": {
            "host": one.address,
            "port": one.port,
            "user": one.user,
            "key_file": one.key_file,
            "known_hosts_file": one.known_hosts_file,
        },
    }
    _write_private(state / "access.json", json.dumps(found, indent=2) + "\n")
    _write_private(state / "ssh_config", _ssh_config(one))
    question = json.loads(QUESTIONS.read_text())[0]["question"]
    began = time.monotonic()
    words = list(stream(found, question))
    if not words:
        raise RehearsalError(f"the stream of {found['url']}/v1/chat/completions ended without a word")
    report(f"asked {question!r}, got {''.join(words)!r} in {len(words)} pieces, {time.monotonic() - began:.1f} s")


def stream(found: dict[str, Any], question: str) -> Iterator[str]:
    """The pieces of a streamed chat answer as they come, TLS verified against the host's own authority."""
    body = {
        "model": found["model"],
        "stream": True,
        "temperature": 0,
        "messages": [{"role": "user", "content": question}],
    }
    request = urllib.request.Request(  # noqa: S310 - https by construction
        f"{found['url']}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {found['api_key']}", "Content-Type": "application/json"},
    )
    trust = ssl.create_default_context(cafile=found["ca_file"])
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust) as answer:  # noqa: S310
        for line in answer:
            if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                for choice in json.loads(line[6:])["choices"]:
                    if piece := choice["delta"].get("content"):
                        yield piece


def farewell(state: Path) -> str:
    """What a person does next."""
    found = json.loads((state / "access.json").read_text())
    return "\n".join(
        [
            "",
            f"Served at {found['url']} (certificate authority: {found['ca_file']}).",
            f"The browser asks for user {found['basic_user']!r}; then sign in as {found['webui_email']}.",
            f"All passwords and API keys are in {state / 'access.json'} (mode 0600).",
            f"Look around: ssh -F {state / 'ssh_config'} gpu1",
            "Test it all: make test.  Remove it all: make clean.",
        ]
    )


def hand_over(state: Path, name: str) -> None:
    """Lets the person who called sudo use the host's key, so that pyinfra and pytest need no root."""
    caller = os.environ.get("SUDO_UID")
    if caller is None:
        return
    here = host.folder(state, name)
    here.chmod(0o711)
    for file in ("id_ed25519", "id_ed25519.pub", "known_hosts", "host.json"):
        os.chown(here / file, int(caller), -1)


def _ssh_config(one: rootfs.Host) -> str:
    lines = [
        f"Host {one.name} {one.address}",
        f"  HostName {one.address}",
        f"  Port {one.port}",
        f"  User {one.user}",
        f"  IdentityFile {one.key_file}",
        f"  UserKnownHostsFile {one.known_hosts_file}",
        "  StrictHostKeyChecking yes",
        "  IdentitiesOnly yes",
    ]
    return "\n".join(lines) + "\n"


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    if "SUDO_UID" in os.environ:
        os.chown(new, int(os.environ["SUDO_UID"]), -1)
    new.replace(path)
