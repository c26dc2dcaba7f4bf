"""Runs on the host as root, standard library only: offers the prompts of a library in Open WebUI.

Input: one JSON argument {"webui": loopback URL, "email", "password": file, "database": file of the WebUI, "record":
file, "library": file with the prompts}, or instead of "library" {"wanted": {command: digest}} to only look.
Output of a look: one JSON line {"create", "update", "remember", "kept", "why", "later"}: commands, sentences, and why
it can't be known (null when it is), and whether asking later may help.

The record says what was applied: {"schema": 1, "database": inode, "admin": id, "applied": {command: digest}}. It only
counts for the WebUI of that administrator: a new database is given the whole library.
"""

import http.client
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tandem.domain.prompts import Work, compare, from_answer, from_records, settled, to_form
from tandem.hostside.files import write_atomic

ANSWER_SECONDS = 30
PATIENCE_SECONDS = 200
"""Open WebUI lets one address sign in 15 times in three minutes."""
ASK_AGAIN_SECONDS = 5
EVERYBODY = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]


class Unknown(Exception):
    """The WebUI does not tell; the text says why. ``later``: asking again may help."""

    def __init__(self, why: str, later: bool = False) -> None:
        super().__init__(why)
        self.later = later


class Webui:
    """Open WebUI on loopback, signed in as its administrator."""

    def __init__(self, url: str) -> None:
        self.address, self.token, self.admin = url.removeprefix("http://"), "", ""

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        session = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = {"Content-Type": "application/json", **session}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            raise Unknown("the WebUI does not answer", later=True) from None
        finally:
            connection.close()

    def sign_in(self, email: str, password: str) -> None:
        status, answer = self.ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})
        if status == 429:
            raise Unknown("the WebUI lets nobody sign in so often; it does again in three minutes", later=True)
        if status != 200 or not answer.get("token") or answer.get("role") != "admin":
            raise Unknown(
                "the WebUI does not let its first administrator in with the password of `tandemctl credentials`"
            )
        self.token, self.admin = answer["token"], answer["id"]

    def prompts(self) -> dict[str, dict[str, Any]]:
        status, answer = self.ask("GET", "/api/v1/prompts/")
        if status != 200:
            raise Unknown(f"the WebUI answers {status} when it is asked for its prompts")
        return {from_answer(one).command: one for one in answer}


def main() -> None:
    asked = json.loads(sys.argv[1])
    if "library" not in asked:
        try:
            print(json.dumps({**asdict(look(asked)), "why": None, "later": False}))
        except Unknown as unknown:
            print(json.dumps({**asdict(Work()), "why": str(unknown), "later": unknown.later}))
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            apply(asked)
            return
        except Unknown as unknown:
            if not unknown.later or time.monotonic() > deadline:
                sys.exit(f"{unknown}. Prompts that were offered stay; run the same command again.")
            print(f"{unknown}; asking again", flush=True)
            time.sleep(ASK_AGAIN_SECONDS)


def look(asked: dict[str, Any]) -> Work:
    """Asks nobody while everything wanted is on record: people sign in with the same name."""
    record = read(asked["record"])
    if settled(asked["wanted"], record["applied"]) and record["database"] == inode(asked["database"]):
        return Work()
    webui = signed_in(asked)
    return decide(asked["wanted"], record, webui.admin, webui.prompts())


def decide(wanted: dict[str, str], record: dict[str, Any], admin: str, there: dict[str, dict[str, Any]]) -> Work:
    """What to do; at the least the record is renewed."""
    work = compare(
        wanted,
        record["applied"] if record["admin"] == admin else {},
        {command: from_answer(one).digest for command, one in there.items()},
    )
    return work if work.due else Work(remember=sorted(wanted))


def apply(asked: dict[str, Any]) -> None:
    library = {prompt.command: prompt for prompt in from_records(json.loads(Path(asked["library"]).read_text()))}
    wanted = {command: prompt.digest for command, prompt in library.items()}
    webui, record = signed_in(asked), read(asked["record"])
    there = webui.prompts()
    work = decide(wanted, record, webui.admin, there)
    applied = record["applied"] if record["admin"] == webui.admin else {}
    for command in [*work.create, *work.update]:
        path = "create" if command in work.create else f"id/{there[command]['id']}/update"
        form = to_form(library[command]) | ({"access_grants": EVERYBODY} if command in work.create else {})
        status, _ = webui.ask("POST", f"/api/v1/prompts/{path}", form)
        # 400: the command is taken by a prompt that people switched off, which is not listed.
        if status not in (200, 400):
            raise Unknown(f"the WebUI answers {status} when it is given the prompt /{command}")
        applied = {**applied, command: wanted[command]}
        write(asked, webui.admin, applied)
    write(asked, webui.admin, {**applied, **wanted})
    print(f"{len(work.create)} prompts made, {len(work.update)} brought up to date")


def signed_in(asked: dict[str, Any]) -> Webui:
    try:
        password = Path(asked["password"]).read_text().strip()
    except FileNotFoundError:
        raise Unknown("the WebUI's administrator has no password on this host yet", later=True) from None
    webui = Webui(asked["webui"])
    webui.sign_in(asked["email"], password)
    return webui


def inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def read(path: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"database": None, "admin": None, "applied": {}}
    try:
        return {**nothing, **json.loads(Path(path).read_text())}
    except (FileNotFoundError, ValueError, TypeError):
        return nothing


def write(asked: dict[str, Any], admin: str, applied: dict[str, str]) -> None:
    record = {"schema": 1, "database": inode(asked["database"]), "admin": admin, "applied": applied}
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_atomic(Path(asked["record"]), text, "0600", os.getuid(), os.getgid())


if __name__ == "__main__":
    main()
