"""The command line of tandemctl's commands about backups."""

import argparse
import re
from collections.abc import Callable
from typing import Any, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Make: TypeAlias = Callable[[Any, str, str], argparse.ArgumentParser]
"""``arguments._command``: adds a command with its one sentence."""


def add(commands: Commands, make: Make) -> None:
    group = commands.add_parser("backup", help="backups of users, chats and secrets").add_subparsers(
        required=True, metavar="COMMAND"
    )
    make(group, "run", "make one now: what the daily timer runs")
    make(group, "verify", "check the newest one, and prove a copy of what there is in a scratch Open WebUI")
    command = make(group, "list", "say which there are and how the last one went")
    command.add_argument("--json", action="store_true")

    command = make(commands, "restore", "bring a backup back; the key (age) comes by standard input")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="archive", metavar="FILE")
    what.add_argument("--look", action="store_true", help="only say what is here, as JSON")
    what.add_argument(
        "--new-key", type=_token, metavar="NAME", help="make a key for one restore, print its public half"
    )
    command.add_argument("--kept-key", type=_token, metavar="NAME", help="use that key; nothing is read")
    command.add_argument("--replace", action="store_true", help="consent to put aside the users' data that is here")
    command.add_argument("--scratch", action="store_true", help="only try it, in a scratch Open WebUI")
    command.add_argument("--remove", action="store_true", help="remove FILE afterwards")


def _token(word: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{4,64}", word):
        raise argparse.ArgumentTypeError("4 to 64 hexadecimal digits")
    return word
