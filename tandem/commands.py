"""The one place that builds shell commands. Values are quoted here; secrets never appear here, they go to standard
input.
"""

import json
from pathlib import Path
from typing import Any

from pyinfra.api import QuoteString, StringCommand

HOSTSIDE = Path(__file__).parent / "hostside"
TANDEMCTL = "/usr/local/bin/tandemctl"


def host_program(name: str, question: Any = None) -> StringCommand:
    """Runs ``tandem/hostside/<name>.py`` on the host without installing it; ``question`` is its JSON argument."""
    source = (HOSTSIDE / f"{name}.py").read_text()
    words: list[Any] = ["python3", "-I", "-c", QuoteString(source)]
    if question is not None:
        words.append(QuoteString(json.dumps(question)))
    return StringCommand(*words)


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


def make_filesystem(device: str, kind: str, label: str, uuid: str) -> StringCommand:
    """mkfs refuses a disk that holds a filesystem by itself as well: no force option is ever given."""
    if kind == "xfs":
        return StringCommand(
            "mkfs.xfs -q -L", QuoteString(label), "-m", QuoteString(f"uuid={uuid}"), QuoteString(device)
        )
    return StringCommand(
        "mkfs.ext4 -q -L", QuoteString(label), "-U", QuoteString(uuid), QuoteString(device), "</dev/null"
    )


def if_installed(command: StringCommand) -> StringCommand:
    """Answers {} on a host that has no tandemctl yet, so that a plan can be made for a fresh host."""
    return StringCommand("if [ -x", TANDEMCTL, "]; then", command, "; else echo '{}'; fi")
