"""tandemctl's commands about Open WebUI."""

import argparse
import json
import sys
from collections.abc import Callable

from tandem.domain.refused import Refused
from tandem.domain.webui_switch import parse
from tandem.hostside import webui_return, webui_settings, webui_slots, webui_switch
from tandem.hostside.arguments import BadInput
from tandem.hostside.paths import Paths
from tandem.hostside.sqlite_copy import NotCopied
from tandem.hostside.telling import tell
from tandem.hostside.webui_chats import NotRead
from tandem.hostside.webui_return import NotSwitched
from tandem.hostside.webui_slots import NotStopped

Command = Callable[[argparse.Namespace, Paths, str], None]


def status(_options: argparse.Namespace, paths: Paths) -> None:
    print(json.dumps(webui_slots.shown(paths)))


def settings(options: argparse.Namespace, paths: Paths) -> None:
    try:
        changed = webui_settings.follow(options.slot, paths)
    except NotCopied as error:
        raise Refused(f"{error} Open WebUI starts with the settings that it keeps.") from error
    tell(
        f"followed the unit again: {', '.join(changed)}"
        if changed
        else "every setting of this host is as its unit says"
    )


def prepare(options: argparse.Namespace, paths: Paths, who: str) -> None:
    webui_switch.prepare(options.slot, paths, who)
    tell(f"the slot {options.slot} of the WebUI is free to be written")


def switch(_options: argparse.Namespace, paths: Paths, who: str) -> None:
    try:
        order = parse(json.loads(sys.stdin.read()))
    except ValueError as error:
        raise BadInput(f"standard input: {error}.") from None
    webui_switch.switch(order, paths, who, tell)


def back(options: argparse.Namespace, paths: Paths, who: str) -> None:
    webui_return.back(paths, who, tell, options.consent_chats)


def mend(_options: argparse.Namespace, paths: Paths, who: str) -> None:
    if not webui_return.mend(paths, who, tell):
        tell("nothing to do: no WebUI switch was cut short")


def _plainly(command: Command) -> Command:
    def run(options: argparse.Namespace, paths: Paths, who: str) -> None:
        try:
            command(options, paths, who)
        except (NotStopped, NotRead, NotCopied) as error:
            raise NotSwitched(f"{error}. What was done stays; run: tandemctl webui mend") from error

    return run


COMMANDS = {
    f"webui {name}": _plainly(command)
    for name, command in {"prepare": prepare, "switch": switch, "back": back, "mend": mend}.items()
}
"""By the words after ``tandemctl``; ``status`` and ``settings`` apart: they change nothing that serves, and need no
name.
"""
