"""The command line of tandemctl. Wrong usage ends with exit status 2."""

import argparse
import re
from collections.abc import Callable

from tandem.domain.slots import SLOTS
from tandem.hostside import backup_arguments

LOCK_WAIT_SECONDS = 30.0
PROBE_SECONDS = 30.0
ROTATABLE = "passwords/NAME, keys/NAME, gate, webui_admin_password or certificate"


class BadInput(Exception):
    """Standard input or the arguments are not what the command reads. The message never holds a value."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tandemctl", description="What this host serves, and changing it.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = _command(commands, "status", "say what serves")
    command.add_argument("--json", action="store_true")

    command = _command(commands, "adopt", "first install: make this release the serving one")
    command.add_argument("--release", required=True, type=_matching(r"[a-z0-9][a-z0-9._-]{0,62}"))
    command.add_argument("--digest", required=True, type=_matching(r"[0-9a-f]{8,64}"))
    command.add_argument("--slot", required=True, choices=SLOTS)
    command.add_argument("--engine-ports", required=True, type=_ports, metavar="PORT[,PORT...]")
    command.add_argument("--webui-port", required=True, type=_port)
    command.add_argument("--model", default="", help="the name that clients ask for")
    command.add_argument("--revision", default="", type=_matching(r"[A-Za-z0-9._-]{0,64}"), help="of the model files")
    command.add_argument("--image", default="", help="the engine's image by digest")
    command.add_argument("--wait-seconds", type=float, default=LOCK_WAIT_SECONDS, help="for the lock")

    _add_upgrade(commands)

    command = _command(commands, "rollback", "undo the rollout that is under way, traffic first")
    command.add_argument("--why", default="")
    command.add_argument("--wait-seconds", type=float, default=LOCK_WAIT_SECONDS, help="for the lock")

    command = _command(commands, "follow", "tell how the rollout goes until it is over or held")
    command.add_argument("--every-seconds", type=float, default=15.0)

    command = _command(commands, "report", "all that is known about one rollout")
    command.add_argument("--json", action="store_true", required=True)
    command.add_argument("--id", type=_matching(r"[0-9]{8}-[0-9]{6}-[a-z0-9._-]+"), help="the last one if left out")

    _add_webui(commands)

    _command(commands, "guard", "watch and act until told to end: what tandem-guard.service runs")

    group = commands.add_parser("secrets", help="make, replace or list secrets").add_subparsers(
        required=True, metavar="COMMAND"
    )
    command = _command(group, "ensure", "reads one JSON object from standard input")
    command.add_argument("--dry", action="store_true", help="only say what would change")
    command.add_argument("--json", action="store_true")
    command.add_argument("--wait-seconds", type=float, default=LOCK_WAIT_SECONDS, help="for the lock")

    command = _command(group, "rotate", "replace a secret by a new one, and tell the gate")
    command.add_argument("what", metavar="WHAT", help=f"{ROTATABLE}; see: tandemctl secrets list")
    command.add_argument(
        "--older-than-hours", type=float, default=0.0, help="leave a secret alone that is younger than this"
    )
    command.add_argument("--json", action="store_true")
    command.add_argument("--wait-seconds", type=float, default=LOCK_WAIT_SECONDS, help="for the lock")

    command = _command(group, "list", "say which secrets there are and how old, never a value")
    command.add_argument("--json", action="store_true")

    command = _command(commands, "credentials", "print the logins: the one command that shows secrets")
    command.add_argument("--json", action="store_true")

    group = commands.add_parser("certificate", help="the edge's certificate").add_subparsers(
        required=True, metavar="COMMAND"
    )
    command = _command(group, "renew", "renew it if that is due: what the daily timer runs")
    command.add_argument("--dry", action="store_true", help="only say how it stands")
    command.add_argument("--json", action="store_true", help="with --dry: as JSON")

    group = commands.add_parser("cleanup", help="what no kept release uses").add_subparsers(
        required=True, metavar="COMMAND"
    )
    command = _command(group, "list", "say what may go: reads one JSON object from standard input")
    command.add_argument("--json", action="store_true")
    _command(group, "run", "remove what standard input names and still may go")

    backup_arguments.add(commands, _command)

    command = _command(commands, "wait-ready", "wait until all of these answer")
    _add_targets(command)
    command.add_argument("--timeout-seconds", type=float, required=True)
    command.add_argument(
        "--restart-webui-after-seconds", type=float, help="restart a WebUI without data once that is silent for so long"
    )
    command.add_argument("--progress", action="store_true", help="say every few seconds how it goes")

    command = _command(commands, "probe", "ask once; prints JSON and exits 0 whatever the answers are")
    _add_targets(command)
    command.add_argument("--timeout-seconds", type=float, default=PROBE_SECONDS, help="for one answer")

    command = _command(commands, "served", "say which configuration each Nginx process really uses")
    command.add_argument("--json", action="store_true")
    command.add_argument(
        "--expect",
        action="extend",
        nargs="+",
        default=[],
        type=_matching(r"tandem-[a-z-]+=[0-9a-f]{16}"),
        metavar="UNIT=DIGEST",
        help="wait until these processes use these configurations, and fail if they do not",
    )
    return top


def _add_upgrade(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("upgrade", help="begin and steer a rollout").add_subparsers(
        required=True, metavar="COMMAND"
    )
    orders = {
        "prepare": "the idle slot's engines wait for the rollout",
        "begin": "begin a rollout: reads one JSON object from standard input",
        "move": "the new release's share by hand; it goes on from there",
        "hold": "it stays as it is until somebody resumes it",
        "resume": "it goes on by itself, with a window of full length",
        "finish": "free the old release without the rest of the soak",
    }
    made = {name: _command(group, name, text) for name, text in orders.items()}
    made["prepare"].add_argument("--slot", required=True, choices=SLOTS)
    made["prepare"].add_argument("--cards", required=True, type=_cards, metavar="CARD[,CARD...]")
    made["prepare"].add_argument("--order", default="", metavar="FINGERPRINT", help="only this order may be begun")
    made["move"].add_argument("--weight", required=True, type=_share)
    made["hold"].add_argument("--why", default="")
    for command in made.values():
        command.add_argument("--wait-seconds", type=float, default=LOCK_WAIT_SECONDS, help="for the lock")


def _add_webui(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("webui", help="change Open WebUI's version").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _command(group, "status", "which version is in which slot, as JSON")
    command = _command(group, "prepare", "the WebUI of the slot that does not serve waits for a switch")
    command.add_argument("--slot", required=True, choices=SLOTS)
    _command(group, "switch", "another version takes over: reads one JSON object from standard input")
    command = _command(group, "back", "the version before takes over again, with its own, older data")
    command.add_argument("--consent-chats", type=int, help="how many chats may be left behind")
    _command(group, "mend", "what served before a switch that was cut short serves again")
    command = _command(
        group, "settings", "what it keeps of this host's settings follows its unit: each start runs this"
    )
    command.add_argument("--slot", required=True, choices=SLOTS)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(command=command.prog.partition(" ")[2])
    return command


def _add_targets(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", action="extend", nargs="+", default=[], metavar="[UNIT=]URL")
    command.add_argument("--webui", action="extend", nargs="+", default=[], metavar="[UNIT=]URL")
    command.add_argument("--model", help="the name that the engines serve")


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(word: str) -> str:
        if not re.fullmatch(pattern, word):
            raise argparse.ArgumentTypeError(f"{word!r} does not match {pattern}")
        return word

    return parse


def _port(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is not a port (1-65535)")
    return int(word)


def _share(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 100:
        raise argparse.ArgumentTypeError(f"{word!r} is not a share (1-100 percent); to take all away, roll back")
    return int(word)


def _cards(word: str) -> tuple[int, ...]:
    cards = word.split(",")
    if not all(card.isdecimal() and int(card) < 100 for card in cards) or len(set(cards)) < len(cards):
        raise argparse.ArgumentTypeError(f"{word!r} is not a list of cards (0-99)")
    return tuple(int(card) for card in cards)


def _ports(word: str) -> tuple[int, ...]:
    ports = tuple(_port(part) for part in word.split(","))
    if len(set(ports)) < len(ports):
        raise argparse.ArgumentTypeError(f"{word!r} names a port twice")
    return ports
