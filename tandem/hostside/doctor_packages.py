"""Packages: what is installed and held, what updates itself, which security updates are due. Reads only.

apt is not asked what it would upgrade: it would write its cache, or need seconds without.
"""

import glob
import os
import re
from typing import Any

from tandem.hostside.asking import run, text

LISTS = "/var/lib/apt/lists"


def installed() -> dict[str, list[str]]:
    """{package: [status as dpkg abbreviates it, version]}."""
    status, said = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Version}\n")
    rows = [line.split("\t") for line in said.splitlines() if status == 0]
    return {name: [state.strip(), version] for state, name, version in rows}


def packages() -> dict[str, Any]:
    """{"held": [[name, status]], "driver": {name: version}, "security": {name: [installed, available]} or null}.

    ``security`` holds packages whose installed version is another than the security lists' newest; null: no lists.
    """
    known = installed()
    there = {name: version for name, (state, version) in known.items() if state[1:2] == "i"}
    return {
        "held": sorted([name, state] for name, (state, _) in known.items() if state.startswith("h")),
        "driver": {name: version for name, version in there.items() if re.search(r"nvidia|^libcuda\d*$", name)},
        "security": security(there),
    }


def security(there: dict[str, str], lists: str = LISTS) -> dict[str, list[str]] | None:
    files = [path for path in glob.glob(f"{lists}/*_Packages*") if "security" in os.path.basename(path)]
    if not files:
        return None
    found: dict[str, list[str]] = {}
    for path in files:
        _, said = run("/usr/lib/apt/apt-helper", "cat-file", path)
        for block in said.split("\n\n"):
            # The fields come in this order: Package first.
            name = block.partition("\n")[0].removeprefix("Package: ")
            if name in there:
                version = re.search(r"^Version: (.*)$", block, re.MULTILINE)
                if version and version.group(1) != there[name]:
                    found.setdefault(name, [there[name]]).append(version.group(1))
    return found


def apt_settings() -> dict[str, Any]:
    """What apt does by itself: {"unattended", "blacklist", "reboots"}."""
    values = _apt_values()
    last = {name.lower().rstrip(":"): value for name, value in values}
    upgrades = last.get("apt::periodic::unattended-upgrade", "0") not in ("", "0")
    return {
        "unattended": upgrades and os.path.exists("/usr/bin/unattended-upgrade"),
        "blacklist": [value for name, value in values if name.rstrip(":").endswith("Package-Blacklist") and value],
        "reboots": last.get("unattended-upgrade::automatic-reboot", "false") == "true",
    }


def apt_proxies() -> dict[str, str]:
    """{scheme: address}, passwords included: not to be told."""
    last = {name.lower(): value for name, value in _apt_values()}
    return {scheme: last.get(f"acquire::{scheme}::proxy", "") for scheme in ("http", "https")}


def _apt_values() -> list[tuple[str, str]]:
    _, said = run("apt-config", "dump")
    return re.findall(r'^([\w:.-]+)(?:::)? "(.*)";$', said, re.MULTILINE)


def apt_sources() -> list[str]:
    """The addresses of the host's own apt sources, from both kinds of source files."""
    found = set()
    for path in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]:
        found |= set(re.findall(r"^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)", text(path), re.MULTILINE))
    for path in glob.glob("/etc/apt/sources.list.d/*.sources"):
        for paragraph in re.split(r"\n\s*\n", text(path)):
            if re.search(r"^Types:.*\bdeb\b(?!-)", paragraph, re.MULTILINE | re.IGNORECASE) and not re.search(
                r"^Enabled:\s*(?:no|false)", paragraph, re.MULTILINE | re.IGNORECASE
            ):
                found |= set("".join(re.findall(r"^URIs:(.*)$", paragraph, re.MULTILINE | re.IGNORECASE)).split())
    return sorted(address.removeprefix("mirror+").rstrip("/") for address in found)
