"""The root folder that every rehearsal host starts from: a fresh Debian 13 server, made once by mmdebstrap.

Mirrors, proxies and certificate authorities are the operator's own; only the suite differs.
"""

import hashlib
import json
import os
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from tandem.mirrors import Mirrors, apt_settings, mirrors_here
from tandem.rehearsal.shell import exclusive, remove_tree, run

SUITE = "trixie"
PACKAGES = (
    "systemd-sysv", "systemd-timesyncd", "libpam-systemd", "dbus", "udev", "openssh-server", "python3", "sudo",
    "iproute2", "ca-certificates", "procps", "kmod", "netbase", "linux-image-cloud-amd64",
)  # fmt: skip
USERS = ("operator", "guest")
SUDOERS = "operator ALL=(ALL:ALL) NOPASSWD: ALL\n"
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")


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
    state.mkdir(parents=True, exist_ok=True)
    with exclusive(state / "base.lock"):
        if base.is_dir() and stamp_file.exists() and json.loads(stamp_file.read_text())["stamp"] == stamp:
            return base
        report(f"making a Debian {SUITE} root for the rehearsal hosts")
        _make(base, sources, settings, authorities)
        stamp_file.write_text(json.dumps({"stamp": stamp}))
    return base


def _make(base: Path, sources: Sequence[str], settings: str, authorities: Sequence[str]) -> None:
    """Replaces the root: the old one and its stamp go when the new one is whole."""
    state, new = base.parent, base.with_name("base.new")
    remove_tree(new)
    settings_file = state / "base.apt.conf"
    settings_file.write_text(f'Acquire::Languages "none";\n{settings}')
    run(
        ["nice", "-n", "5", "mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
         f"--aptopt={settings_file}", SUITE, str(new), *sources]
    )  # fmt: skip
    settings_file.unlink()
    _furnish(new, authorities)
    (state / "base.json").unlink(missing_ok=True)
    remove_tree(base)
    new.rename(base)


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
    return source_lines(mirrors_here())


def _settings_here() -> str:
    return apt_settings(run(["apt-config", "dump"]), os.environ)


def _authorities_here() -> list[str]:
    bundle = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile)
    bundle = bundle if bundle.exists() else Path("/") / BUNDLE
    if not bundle.exists():
        return []
    of_debian = [file.read_text() for file in Path("/usr/share/ca-certificates").rglob("*.crt")]
    return added_authorities(bundle.read_text(), of_debian)
