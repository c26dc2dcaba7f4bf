"""Who signs in to a scratch Open WebUI to prove a backup. Runs on the host, as root."""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tandem.hostside import sqlite_copy


class NotProven(Exception):
    """The scratch Open WebUI did not show what it should. The text says what; nothing that serves was touched."""


@dataclass(frozen=True)
class Person:
    """Who signs in: an administrator, and the newest chat of theirs ("": none)."""

    email: str
    chat: str


def administrator(database: Path, email: str) -> Person:
    """The one whom install made; if that one is gone, the first of the others."""
    found = sqlite_copy.ask(
        database,
        [
            (
                "SELECT id, email FROM \"user\" WHERE role = 'admin' ORDER BY lower(email) != lower(?), created_at "
                "LIMIT 1",
                [email],
            )
        ],
    )[0]
    if not found:
        raise NotProven("there is no administrator in Open WebUI's database")
    newest = "SELECT id FROM chat WHERE user_id = ? ORDER BY updated_at DESC LIMIT 1"
    chats = sqlite_copy.ask(database, [(newest, [found[0][0]])])[0]
    return Person(str(found[0][1]), str(chats[0][0]) if chats else "")


@contextmanager
def password_lent(database: Path, person: Person) -> Iterator[str]:
    """A password for this test alone, in this copy alone: the administrator has changed the one that the host knows."""
    columns = [row[1] for row in sqlite_copy.ask(database, [("PRAGMA table_info(auth)", [])])[0]]
    lent = [name for name in ("password", "mfa") if name in columns]
    names = ", ".join(lent)
    before = sqlite_copy.ask(database, [(f"SELECT {names} FROM auth WHERE email = ?", [person.email])])[0]  # noqa: S608
    if not before:
        raise NotProven("the administrator has no password in Open WebUI's database")
    password = secrets.token_urlsafe(24)
    made = subprocess.run(
        ["htpasswd", "-n", "-i", "-B", "-C", "6", "lent"],
        input=f"{password}\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    hashed = made.stdout.strip().split(":", 1)[1].replace("$2y$", "$2b$", 1)
    change = f"UPDATE auth SET {', '.join(f'{name} = ?' for name in lent)} WHERE email = ?"  # noqa: S608
    sqlite_copy.ask(database, [(change, [*[hashed, None][: len(lent)], person.email])])
    try:
        yield password
    finally:
        sqlite_copy.ask(database, [(change, [*before[0], person.email])])
