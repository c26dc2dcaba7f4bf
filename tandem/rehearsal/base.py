"""The root folder that every rehearsal host starts from: a fresh Debian 13 server, made once by mmdebstrap.

Mirrors, proxies and certificate authorities are the operator's own; only the suite differs.
"""

import hashlib
import json
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.rehearsal.shell import remove_tree, run

SUITE = "trixie"
PACKAGES = (
    "systemd-sysv", "systemd-timesyncd", "libpam-systemd", "dbus", "udev", "openssh-server", "python3", "sudo",
    "iproute2", "ca-certificates", "procps", "kmod", "netbase",
)  # fmt: skip
USERS = ("operator", "guest")
SUDOERS = "operator ALL=(ALL:ALL) NOPASSWD: ALL\n"
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Mirrors:
    """Where the operator gets Debian from: the address of the archive and of its security updates, or None."""

    main: str | None
    security: str | None


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


def certificates(text: str) -> list[str]:
    """The PEM certificates of a bundle, without what stands between them."""
    return re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?", text)


def added_authorities(bundle: str, of_debian: Sequence[str]) -> list[str]:
    """Certificates of the operator's bundle that Debian's own collection does not have."""
    known = {cert.strip() for text in of_debian for cert in certificates(text)}
    return [cert for cert in dict.fromkeys(certificates(bundle)) if cert.strip() not in known]


def source_lines(mirrors: Mirrors) -> list[str]:
    """apt lines for the new root; none (mmdebstrap's own default) where the operator's mirror is not known."""
    if mirrors.main is None:
        return []
    parts = "main contrib non-free non-free-firmware"
    lines = [f"deb {mirrors.main} {SUITE} {parts}", f"deb {mirrors.main} {SUITE}-updates {parts}"]
    return [*lines, f"deb {mirrors.security} {SUITE}-security {parts}"] if mirrors.security else lines


def build(state: Path, report: Callable[[str], None]) -> Path:
    """`state`/base, made anew only if what goes into it changed. Interrupted, it leaves nothing that looks finished."""
    base, stamp_file = state / "base", state / "base.json"
    sources, settings, authorities = _sources_here(), _settings_here(), _authorities_here()
    recipe = [Path(__file__).read_text(), sources, settings, authorities]
    stamp = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    if base.is_dir() and stamp_file.exists() and json.loads(stamp_file.read_text())["stamp"] == stamp:
        return base
    report(f"making a Debian {SUITE} root for the rehearsal hosts")
    state.mkdir(parents=True, exist_ok=True)
    new = state / "base.new"
    remove_tree(new)
    settings_file = state / "base.apt.conf"
    settings_file.write_text(f'Acquire::Languages "none";\n{settings}')
    run(
        ["nice", "-n", "5", "mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
         f"--aptopt={settings_file}", SUITE, str(new), *sources]
    )  # fmt: skip
    settings_file.unlink()
    _furnish(new, authorities)
    stamp_file.unlink(missing_ok=True)
    remove_tree(base)
    new.rename(base)
    stamp_file.write_text(json.dumps({"stamp": stamp}))
    return base


def _furnish(root: Path, authorities: Sequence[str]) -> None:
    """Users, certificate authorities and the network service of a fresh server; no host key and no machine id yet."""
    for number, certificate in enumerate(authorities):
        (root / f"usr/local/share/ca-certificates/operator-{number}.crt").write_text(certificate)
    run(["chroot", str(root), "update-ca-certificates"])
    for user in USERS:
        run(["chroot", str(root), "useradd", "--create-home", "--no-user-group", "--shell=/bin/bash", user])
    sudoers = root / "etc/sudoers.d/operator"
    sudoers.write_text(SUDOERS)
    sudoers.chmod(0o440)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("uninitialized\n")
    run(["systemctl", f"--root={root}", "--quiet", "enable", "systemd-networkd.service"])


def _sources_here() -> list[str]:
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.sources")), *sorted(folder.glob("*.list"))]
    texts = [file.read_text() for file in files if file.exists()]
    return source_lines(debian_mirrors(texts, release.get("VERSION_CODENAME", "")))


def _settings_here() -> str:
    return apt_settings(run(["apt-config", "dump"]), os.environ)


def _authorities_here() -> list[str]:
    bundle = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile)
    bundle = bundle if bundle.exists() else Path("/") / BUNDLE
    if not bundle.exists():
        return []
    of_debian = [file.read_text() for file in Path("/usr/share/ca-certificates").rglob("*.crt")]
    return added_authorities(bundle.read_text(), of_debian)
