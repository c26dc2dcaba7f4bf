"""Where the operator's own machine gets Debian packages from: its mirrors and its way to them, for another suite."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mirrors:
    """Where the operator gets Debian from: the address of the archive and of its security updates, or None."""

    main: str | None
    security: str | None


UNKNOWN = Mirrors(None, None)


def debian_mirrors(texts: Sequence[str], codename: str) -> Mirrors:
    """Reads sources.list and *.sources texts; the first source of the operator's own suite wins."""
    main, security = None, None
    for uri, suite in (pair for text in texts for pair in _sources(text)):
        if uri.startswith("cdrom:"):
            continue
        if suite == codename:
            main = main or uri
        elif suite in (f"{codename}-security", f"{codename}/updates"):
            security = security or uri
    return Mirrors(main, security)


def _sources(text: str) -> list[tuple[str, str]]:
    """(URI, suite) pairs of one apt source file, in either format."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = []
    for line in lines:
        if one := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", line):
            found.append((one[1].rstrip("/"), one[2]))
    for stanza in "\n".join(lines).split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
            uris, suites = fields.get("URIs", "").split(), fields.get("Suites", "").split()
            found.extend((uri.rstrip("/"), suite) for uri in uris for suite in suites)
    return found


def apt_settings(dump: str, environment: Mapping[str, str]) -> str:
    """The lines of `apt-config dump` on how to reach a mirror; proxies of the environment where apt names none."""
    wanted = re.compile(r"^Acquire::https?::(\S+::)?(Proxy|CaInfo|CaPath|Verify-Peer|Verify-Host|Timeout)[ :]")
    lines = [line for line in dump.splitlines() if wanted.match(line)]
    for scheme in ("http", "https"):
        proxy = environment.get(f"{scheme}_proxy", "")
        if proxy and not any(line.startswith(f"Acquire::{scheme}::Proxy ") for line in lines):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in lines)


def mirrors_here(root: Path = Path("/")) -> Mirrors:
    """The mirrors of this machine; UNKNOWN when it does not run Debian, or its sources do not say."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', (root / "etc/os-release").read_text(), re.MULTILINE))
    folder = root / "etc/apt/sources.list.d"
    files = [root / "etc/apt/sources.list", *sorted(folder.glob("*.sources")), *sorted(folder.glob("*.list"))]
    texts = [file.read_text() for file in files if file.exists()]
    found = debian_mirrors(texts, release.get("VERSION_CODENAME", ""))
    return found if found.main and release.get("ID") == "debian" else UNKNOWN
