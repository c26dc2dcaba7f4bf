"""The packages: apt itself resolves, verifies and downloads them, in a root of its own with nothing installed."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.bundling.running import Say, run, run_watched, size_text
from tandem.bundling.wanted import BASE
from tandem.config.gpu import Repository
from tandem.mirrors import Mirrors

SUITE = "trixie"
COMPONENTS = "main contrib non-free non-free-firmware"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LINE = re.compile(r"^'(?P<url>\S+)' (?P<name>\S+) (?P<bytes>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE)

SETTINGS = """\
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State::status "{folder}/status";
Dir::State::extended_states "{folder}/extended";
Dir::State::lists "{folder}/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::SourceList "{folder}/wanted.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "{preferences}";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Parts "/dev/null";
{settings}"""


@dataclass(frozen=True)
class Deb:
    """One package file as apt would fetch it."""

    url: str
    name: str
    bytes: int
    sha256: str

    @property
    def exactly(self) -> str:
        """PACKAGE=VERSION: a colon of the version is written %3a in the file's name."""
        package, version, _ = self.name.split("_")
        return f"{package}={unquote(version)}"


class Apt:
    """apt for a bare Debian 13 on amd64: no package of this machine counts."""

    def __init__(
        self,
        folder: Path,
        mirrors: Mirrors,
        repositories: Sequence[Repository],
        *,
        settings: str = "",
        preferences: str = "",
    ) -> None:
        if mirrors.main and not KEYRING.exists():
            raise BundleError(
                f"{KEYRING} is missing, so Debian's packages can't be verified: install debian-archive-keyring here. "
                "Nothing was written"
            )
        self.folder = folder
        for name in ("lists/partial", "none/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").write_text("")
        (folder / "preferences").write_text(preferences)
        (folder / "wanted.sources").write_text(self._sources(mirrors, repositories))
        text = SETTINGS.format(folder=folder, preferences=folder / "preferences", settings=settings)
        (folder / "apt.conf").write_text(text)
        self.env = {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C.UTF-8"}

    def _sources(self, mirrors: Mirrors, repositories: Sequence[Repository]) -> str:
        stanzas = []
        if mirrors.main:
            stanzas.append(_stanza(mirrors.main, f"{SUITE} {SUITE}-updates", COMPONENTS, KEYRING))
        if mirrors.security:
            stanzas.append(_stanza(mirrors.security, f"{SUITE}-security", COMPONENTS, KEYRING))
        for one in repositories:
            key = self.folder / f"{one.name}.asc"
            key.write_text(one.key)
            stanzas.append(_stanza(one.url, one.suite, " ".join(one.components), key))
        return "\n".join(stanzas)

    def update(self) -> None:
        """Fetches the signed indexes. Raises BundleError when one is not there or not signed with its key."""
        run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], env=self.env)

    def known(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that some repository has."""
        listed = set(run(["apt-cache", "pkgnames"], env=self.env).split())
        return [name for name in names if name in listed]

    def closure(self, names: Sequence[str]) -> list[Deb]:
        """Every package file that installing ``names`` on a bare system may need, by file name."""
        none = f"Dir::Cache::archives={self.folder / 'none'}"
        said = run([*_install(names), "--print-uris", "-o", none], env=self.env)
        found = [Deb(one["url"], one["name"], int(one["bytes"]), one["sha256"]) for one in _LINE.finditer(said)]
        if not found:
            raise BundleError("apt names no package to download; the bundle was left as it was")
        return sorted(found, key=lambda deb: deb.name)

    def download(self, names: Sequence[str], debs: Sequence[Deb], into: Path, hashes: Hashes, say: Say) -> None:
        """Brings what is missing or wrong; removes what is no longer wanted. Every file's hash was checked then."""
        wanted = {deb.name: deb for deb in debs}
        (into / "partial").mkdir(parents=True, exist_ok=True)
        for path in [path for path in into.iterdir() if path.is_file()]:
            deb = wanted.get(path.name)
            if deb is None or hashes.sha256(path) != deb.sha256:
                path.unlink()
        missing_bytes = sum(deb.bytes for deb in debs if not (into / deb.name).exists())
        if missing_bytes:
            say(f"packages: {size_text(missing_bytes)} to download")
            command = [*_install(names), "--download-only", "-o", f"Dir::Cache::archives={into}"]
            run_watched(command, into, missing_bytes, say, env=self.env)
        for deb in debs:
            # apt leaves what is on this machine where it is.
            if deb.url.startswith("file:") and not (into / deb.name).exists():
                shutil.copyfile(unquote(deb.url.removeprefix("file:")), into / deb.name)
        wrong = [name for name, deb in wanted.items() if hashes.sha256(into / name) != deb.sha256]
        if wrong:
            raise BundleError(f"packages/{wrong[0]}: not what its index says; the bundle is not complete: run again")
        for left in (into / "lock", into / "partial"):
            left.rmdir() if left.is_dir() else left.unlink(missing_ok=True)

    def index(self, debs: Sequence[Deb]) -> str:
        """The text of the bundle's own Packages file: apt's stanzas with other places."""
        by_hash = {deb.sha256: deb for deb in debs}
        said = run(["apt-cache", "show", *(deb.exactly for deb in debs)], env=self.env)
        found = {}
        for stanza in said.strip().split("\n\n"):
            digest = re.search(r"^SHA256: (\S+)$", stanza, re.MULTILINE)
            if digest and (deb := by_hash.get(digest[1])):
                found[deb.name] = re.sub(r"(?m)^Filename: .*$", f"Filename: packages/{deb.name}", stanza)
        absent = [deb.name for deb in debs if deb.name not in found]
        if absent:
            raise BundleError(f"apt does not describe {absent[0]}; the bundle is not complete: run again")
        return "\n\n".join(found[deb.name] for deb in debs) + "\n"


def _install(names: Sequence[str]) -> list[str]:
    return ["apt-get", "install", "-y", "-q", *names, *BASE]


def _stanza(url: str, suites: str, components: str, key: Path) -> str:
    lines = ["Types: deb", f"URIs: {url}", f"Suites: {suites}", f"Signed-By: {key}"]
    return "\n".join([*lines, f"Components: {components}"] if components else lines) + "\n"


def versions(packages_text: str) -> dict[str, str]:
    """{package: version} of an index."""
    names = re.findall(r"^Package: (\S+)$", packages_text, re.MULTILINE)
    return dict(zip(names, re.findall(r"^Version: (\S+)$", packages_text, re.MULTILINE), strict=True))
