"""A signed apt repository on the build machine that stands in for NVIDIA's: the same package names and relations.

Everything that apt, dpkg and DKMS do with it is real: the signature, the module's compilation, the shared libraries.
What is in the packages (``nvidia_packages``) are stand-ins. Hosts see it at /opt/rehearsal/apt.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tandem.rehearsal import nvidia_packages
from tandem.rehearsal.nvidia_packages import BROKEN, GOOD, STANDINS, Package, driver, toolkit
from tandem.rehearsal.shell import exclusive, remove_tree, run

SIGNER = "Tandem rehearsal, stands in for NVIDIA <rehearsal@example.invalid>"
KEPT = "apt.secret.asc"
"""Kept in the state folder: hosts go on trusting a repository that is made anew."""


def build(state: Path, report: Callable[[str], None]) -> None:
    """``state``/apt and ``state``/apt-broken, signed by one key; made anew only if what goes into them changed."""
    state.mkdir(parents=True, exist_ok=True)
    programs = [Path(__file__), Path(nvidia_packages.__file__)]
    sources = [*programs, *sorted(path for path in STANDINS.iterdir() if path.is_file())]
    stamp = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    with exclusive(state / "apt.lock"):
        made = state / "apt/stamp"
        if made.exists() and made.read_text() == stamp:
            return
        report("making the apt repository that stands in for NVIDIA's")
        with tempfile.TemporaryDirectory(prefix="tandem-apt-") as work:
            _build(state, Path(work), stamp)


def _build(state: Path, work: Path, stamp: str) -> None:
    compiled = {name: compile_library(name, work) for name in ("libcuda", "libnvidia-ml")}
    good = [one for version in GOOD for one in driver(version, compiled)]
    with signing_key(work / "gpg", state / KEPT) as home:
        _publish(work / "good", [*good, *toolkit()], home)
        _publish(work / "broken", driver(BROKEN, compiled), home)
    (work / "good/stamp").write_text(stamp)
    _replace(work / "broken", state / "apt-broken")
    _replace(work / "good", state / "apt")


def clean(state: Path) -> None:
    """Removes both repositories."""
    for name in ("apt", "apt-broken", "apt.lock", KEPT):
        remove_tree(state / name)


def key(state: Path) -> str:
    """The key that signs both repositories, ASCII-armoured. Raises FileNotFoundError before the first build."""
    return (state / "apt/key.asc").read_text()


@contextlib.contextmanager
def signing_key(home: Path, kept: Path | None = None) -> Iterator[Path]:
    """A GnuPG folder with a signing key for as long as the block runs: a new one, or the one ``kept`` in a file."""
    home.mkdir(mode=0o700, parents=True)
    try:
        if kept and kept.exists():
            run([*_gpg(home), "--import", str(kept)])
        else:
            run([*_gpg(home), "--passphrase", "", "--quick-generate-key", SIGNER, "ed25519", "sign", "never"])
        if kept and not kept.exists():
            secret = run([*_gpg(home), "--passphrase", "", "--armor", "--export-secret-keys"])
            with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secret)
        yield home
    finally:
        run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def public_key(home: Path) -> str:
    """The key of ``signing_key``, ASCII-armoured."""
    return run([*_gpg(home), "--armor", "--export"])


def _gpg(home: Path) -> list[str]:
    return ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]


def compile_library(name: str, work: Path) -> bytes:
    """The shared library of a stand-in. It needs no C library: it must load in the host and in every image."""
    made = work / f"{name}.so"
    flags = [
        "-shared",
        "-fPIC",
        "-O1",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
        f"-Wl,-soname,{name}.so.1",
    ]
    run(["gcc", *flags, "-o", str(made), str(STANDINS / f"{name}.c")])
    return made.read_bytes()


def _publish(folder: Path, packages: list[Package], home: Path) -> None:
    """A flat repository: the packages, their index, and its signature."""
    folder.mkdir()
    index = "\n".join(_add(folder, package) for package in packages)
    (folder / "Packages").write_text(index)
    digest = hashlib.sha256(index.encode()).hexdigest()
    release = (
        "Origin: NVIDIA\nLabel: NVIDIA CUDA\nDescription: A STAND-IN for NVIDIA's repository\nArchitectures: amd64\n"
        f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}\nSHA256:\n {digest} {len(index.encode())} Packages\n"
    )
    (folder / "Release").write_text(release)
    (folder / "InRelease").write_text(run([*_gpg(home), "--clearsign"], stdin=release))
    (folder / "key.asc").write_text(public_key(home))


def _add(folder: Path, package: Package) -> str:
    """Builds a package into the folder; answers its paragraph of the index."""
    tree = folder / "tree"
    for place, (content, mode) in package.files.items():
        path = tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
    for place, target in package.links.items():
        (tree / place).symlink_to(target)
    meta = tree / "DEBIAN"
    meta.mkdir(parents=True)
    (meta / "control").write_text(package.control)
    for name, text in package.scripts.items():
        (meta / name).write_text(text)
        (meta / name).chmod(0o755)
    if package.links:
        (meta / "triggers").write_text("activate-noawait ldconfig\n")
    file = folder / f"{package.name}_{package.version}_amd64.deb"
    # The same package each time that it is made: hosts have its hash in their lists.
    command = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(tree), str(file)]
    run(command, env={"SOURCE_DATE_EPOCH": "0"})
    shutil.rmtree(tree)
    content = file.read_bytes()
    hashed = hashlib.sha256(content).hexdigest()
    return f"{package.control}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashed}\n"


def _replace(made: Path, place: Path) -> None:
    """Puts what was made in the place of what was there. The folder itself stays: running hosts have it mounted."""
    place.mkdir(mode=0o755, exist_ok=True)
    wanted = {path.name for path in made.iterdir()}
    # The index after what it names; the stamp last, so that an interrupted build is made again.
    for path in sorted(made.iterdir(), key=lambda one: (one.name == "stamp", not one.name.endswith(".deb"))):
        path.chmod(0o644)
        new = place / f".{path.name}.new"
        shutil.copyfile(path, new)
        new.chmod(0o644)
        new.replace(place / path.name)
    for path in place.iterdir():
        if path.name not in wanted:
            path.unlink()
