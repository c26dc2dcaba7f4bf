"""The one place that builds shell commands. Values are quoted here; secrets never appear here, they go to standard
input.
"""

import json
import re
from pathlib import Path
from typing import Any

from pyinfra.api import QuoteString, StringCommand

PACKAGE = Path(__file__).parent
HOSTSIDE = PACKAGE / "hostside"
TANDEMCTL = "/usr/local/bin/tandemctl"


def host_program(name: str, question: Any = None) -> StringCommand:
    """Runs ``tandem/hostside/<name>.py`` on the host without installing it; ``question`` is its JSON argument.

    Modules of ``tandem.hostside`` and ``tandem.domain`` that it imports travel with it.
    """
    words: list[Any] = ["python3", "-I", "-c", QuoteString(program_source(name))]
    if question is not None:
        words.append(QuoteString(json.dumps(question)))
    return StringCommand(*words)


def program_source(name: str) -> str:
    """One text that python3 runs: the program, preceded by the modules that it imports of ours."""
    source = (HOSTSIDE / f"{name}.py").read_text()
    modules = _imported(source, {})
    if not modules:
        return source
    return (
        "import sys, types\n"
        "for name in ('tandem', 'tandem.hostside', 'tandem.domain'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__path__ = []\n"
        f"for name, text in {modules!r}.items():\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        "    exec(compile(text, name, 'exec'), module.__dict__)\n"
        f"exec(compile({source!r}, {name!r}, 'exec'))\n"
    )


def _imported(source: str, found: dict[str, str]) -> dict[str, str]:
    """{module: text} of our modules that ``source`` imports, each after those that it needs itself."""
    for name in re.findall(r"^from (tandem\.(?:hostside|domain)\.\w+) import", source, re.MULTILINE):
        if name not in found:
            text = (PACKAGE / f"{name.removeprefix('tandem.').replace('.', '/')}.py").read_text()
            found = {**_imported(text, found), name: text}
    return found


def tandemctl(*words: str) -> StringCommand:
    return StringCommand(TANDEMCTL, *(QuoteString(word) for word in words))


def systemctl(verb: str, *units: str) -> StringCommand:
    return StringCommand("systemctl", verb, *(QuoteString(unit) for unit in units))


def systemctl_or_log(verb: str, *units: str) -> StringCommand:
    """As ``systemctl``; where that fails, the last log lines of each unit that has, and exit status 1."""
    names = [QuoteString(unit) for unit in units]
    return StringCommand(
        systemctl(verb, *units),
        "|| { for unit in $(systemctl list-units --plain --no-legend --state=failed,activating",
        *names,
        "| cut -d ' ' -f 1); do echo \"$unit, last log lines:\"; journalctl -u $unit -n 15 --no-pager -o cat; done;",
        "exit 1; }",
    )


def make_users() -> StringCommand:
    return StringCommand("systemd-sysusers /etc/sysusers.d/tandem.conf")


def apply_settings() -> StringCommand:
    return StringCommand("sysctl --quiet --load=/etc/sysctl.d/60-tandem.conf")


def grow_filesystem(kind: str, device: str, directory: str) -> StringCommand:
    """A mounted filesystem takes all of its device, while it is used."""
    grow = (
        StringCommand("xfs_growfs", QuoteString(directory))
        if kind == "xfs"
        else StringCommand("resize2fs", QuoteString(device))
    )
    return StringCommand(grow, "|| { echo 'the filesystem keeps its size and can be used as before'; exit 1; }")


def if_installed(command: StringCommand) -> StringCommand:
    """Answers {} on a host that has no tandemctl yet, so that a plan can be made for a fresh host."""
    return StringCommand("if [ -x", TANDEMCTL, "]; then", command, "; else echo '{}'; fi")


def if_understood(command: StringCommand) -> StringCommand:
    """As ``if_installed``, for an order that an older tandemctl does not know (exit status 2)."""
    return if_installed(StringCommand(command, "|| { status=$?; [ $status -eq 2 ] && echo '{}' || exit $status; }"))
