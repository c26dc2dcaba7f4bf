"""Runs on the host as root, standard library only: what comes in, and with what sshd lets people in, as JSON."""

import json
import subprocess
import sys
from typing import Any


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def content(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def inputs() -> list[dict[str, Any]]:
    """Every base chain that packets to this host pass, with its rules."""
    entries = json.loads(output("nft", "-j", "list", "ruleset"))["nftables"]
    chains = [entry["chain"] for entry in entries if entry.get("chain", {}).get("hook") == "input"]
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    return [{**chain, "rules": [rule for rule in rules if _of(rule) == _of(chain, "name")]} for chain in chains]


def _of(entry: dict[str, Any], key: str = "chain") -> tuple[str, str, str]:
    return entry["family"], entry["table"], entry[key]


def main() -> None:
    json.loads(sys.argv[1])
    settings = output("sshd", "-T")
    answer = {
        "inputs": inputs(),
        "rules": content("/etc/tandem/firewall/rules.nft"),
        "sshd": dict(line.split(" ", 1) for line in settings.splitlines() if " " in line),
        "sshd_files": content("/etc/ssh/sshd_config.d/10-tandem.conf"),
        "undo": output("systemctl", "list-units", "--all", "--plain", "--no-legend", "tandem-firewall-undo*"),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
