"""The rehearsal hosts' command line: `python -m tandem.rehearsal.host VERB NAME`."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tandem.rehearsal import host, machine, saves
from tandem.rehearsal.rootfs import BLANK_BY_DEFAULT
from tandem.rehearsal.shell import RehearsalError


def main() -> int:
    """Runs the command line of this process; an error is one message and exit status 1."""
    try:
        return _run(_parser().parse_args())
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tandem.rehearsal.host", description=host.__doc__)
    parser.add_argument("--state", type=Path, default=Path(__file__).parents[2] / ".rehearsal")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "reboot", "reset", "remove"):
        verbs.add_parser(verb).add_argument("names", nargs="+", metavar="NAME")
    cards = verbs.choices["up"].add_mutually_exclusive_group()
    cards.add_argument("--blank", action="store_true", default=BLANK_BY_DEFAULT, help="a new host has no driver")
    cards.add_argument("--driven", action="store_false", dest="blank", help="a new host has always had its driver")
    for verb in ("save", "start-from"):
        one = verbs.add_parser(verb)
        one.add_argument("names", nargs=1, metavar="NAME")
        one.add_argument("save", metavar="SAVE")
    login = verbs.add_parser("ssh")
    login.add_argument("name", metavar="NAME")
    login.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("list")
    verbs.add_parser("clean").add_argument("--keep-base", action="store_true")
    return parser


def _run(given: argparse.Namespace) -> int:
    state: Path = given.state.resolve()
    each: dict[str, Callable[[str], object]] = {
        "up": lambda name: (host.create(state, name, blank=given.blank), host.boot(state, name)),
        "down": lambda name: host.stop(state, name),
        "reboot": lambda name: host.reboot(state, name),
        "reset": lambda name: host.reset(state, name),
        "remove": lambda name: host.remove(state, name),
        "save": lambda name: saves.save(state, name, given.save),
        "start-from": lambda name: saves.start_from(state, name, given.save),
    }
    if given.verb == "list":
        for name in host.names(state):
            condition = "running" if machine.running(state, name) else "off"
            print(f"{name:<12} {condition:<8} {host.load(state, name).address}")
    elif given.verb == "clean":
        host.clean(state, keep_base=given.keep_base)
    elif given.verb == "ssh":
        command = [*host.load(state, given.name).ssh(), *given.command]
        os.execvp(command[0], command)  # noqa: S606
    else:
        for name in given.names:
            began = time.monotonic()
            each[given.verb](name)
            print(f"{given.verb} {name}: {time.monotonic() - began:.1f} s")
    return 0
