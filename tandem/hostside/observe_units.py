"""Runs on the host as root, standard library only: units as systemd sees them and what their processes were started
with.

Input: one JSON argument {"units": [full unit names], "served": {unit: loopback URL that answers the active config
hash}}.
Output: one JSON line {unit: {"load", "active", "sub", "result", "enabled", "reload_due", "started",
"condition_failed", "served"}}.
``started`` is the SHA-256 of its unit file that the unit wrote to /run/tandem/started when it last started, null when
it never did
since boot.
"""

import json
import re
import subprocess
import sys
import urllib.request

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NeedDaemonReload",
    "ConditionResult",
    "ConditionTimestampMonotonic",
)
STARTED = "/run/tandem/started"
REVISIONS = {
    "tandem-edge.service": "/etc/tandem/secrets/edge/revision.conf",
    "tandem-gate.service": "/etc/tandem/secrets/gate/revision.conf",
}


def show(units: list[str]) -> dict[str, dict[str, str]]:
    command = ["systemctl", "show", "--property=" + ",".join(PROPERTIES), *units]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    # systemctl answers in the order asked.
    return dict(zip(units, blocks, strict=True))


def started(unit: str) -> str | None:
    try:
        with open(f"{STARTED}/{unit.rsplit('.', 1)[0]}") as file:
            return file.read().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def served(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address of our own
            text: str = answer.read(200).decode().strip()
            return text
    except OSError:
        return None


def secrets_revision(unit: str) -> str | None:
    """The fingerprint of the secrets that the unit would serve if it were reloaded now; not a secret itself."""
    if unit not in REVISIONS:
        return None
    try:
        with open(REVISIONS[unit]) as file:
            found = re.search(r"default ([0-9a-f]{16});", file.read())
    except FileNotFoundError:
        return None
    return found.group(1) if found else None


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = {}
    for unit, block in show(asked["units"]).items():
        answer[unit] = {
            "load": block["LoadState"],
            "active": block["ActiveState"],
            "sub": block["SubState"],
            "result": block.get("Result", ""),
            "enabled": block["UnitFileState"],
            "reload_due": block["NeedDaemonReload"] == "yes",
            # ConditionResult is also "no" for a unit that was never tried.
            "condition_failed": block["ConditionResult"] == "no" and block["ConditionTimestampMonotonic"] != "0",
            "started": started(unit),
            "served": served(asked["served"][unit]) if unit in asked["served"] else None,
            "revision": secrets_revision(unit),
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
