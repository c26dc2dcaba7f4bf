"""`python -m tandem.bundle`: collects all that one host needs into one folder, for a host without a network.

Run again after an interruption: what came whole is kept. A complete bundle is left as it is and nothing is downloaded;
`--refresh` brings newer packages.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyinfra.api.state import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory_from_files  # type: ignore[import-untyped]

from tandem.bundling import content, images, packages, signing, weights
from tandem.bundling.errors import BundleError
from tandem.bundling.hashes import Hashes
from tandem.bundling.running import Say, run, size_text
from tandem.bundling.wanted import Wanted, at, wanted
from tandem.config import Config, ConfigError, load
from tandem.mirrors import Mirrors, apt_settings, mirrors_here

PROGRAMS = {"apt-get": "apt", "dpkg-deb": "dpkg", "gpg": "gnupg", "skopeo": "skopeo"}
KEY_FOLDER = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "tandem/bundle-key"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. An error is one message on standard error and exit status 1."""
    given = _parser().parse_args(arguments)
    os.umask(0o022)  # on the host, apt and engines read it as users of their own
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    try:
        _make(given, say)
    except (BundleError, ConfigError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bundle: interrupted; what came is kept, run the same command again", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"bundle: {error.filename}: {error.strerror}; the bundle is not complete, run again", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tandem.bundle", description=__doc__)
    parser.add_argument("--inventory", required=True, metavar="FILE", help="e.g. inventories/prod.py")
    parser.add_argument("--host", required=True, metavar="NAME", help="its name in the inventory")
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="the bundle; FOLDER.asc is its key")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--release", action="append", metavar="NAME", help="default: the wanted one; may be repeated")
    which.add_argument("--all-releases", action="store_true")
    parser.add_argument("--refresh", action="store_true", help="look for newer packages")
    parser.add_argument("--with-package", action="append", default=[], metavar="NAME", help="one more Debian package")
    parser.add_argument("--images-from", action="append", default=[], type=_folder, metavar="FOLDER",
                        help="an OCI layout or an image store of this machine, asked first")  # fmt: skip
    parser.add_argument("--weights-from", action="append", default=[], type=_folder, metavar="FOLDER",
                        help="a folder of this machine with one sub-folder per revision, asked first")  # fmt: skip
    parser.add_argument("--repository", action="append", default=[], type=_pair, metavar="NAME=URL",
                        help="the address of one of gpu/repositories as seen from this machine")  # fmt: skip
    parser.add_argument("--debian-mirror", metavar="URL", help="default: that of this machine's own apt sources")
    parser.add_argument("--security-mirror", metavar="URL", help="the same for Debian's security updates")
    parser.add_argument("--key-folder", type=Path, default=KEY_FOLDER, metavar="FOLDER",
                        help="where the signing key is kept (default: %(default)s)")  # fmt: skip
    return parser


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return Path(text).resolve()


def _pair(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=URL")
    return name, url


def _make(given: argparse.Namespace, say: Say) -> None:
    _require_programs()
    config = configuration(given.inventory, given.host)
    names = sorted(config.releases) if given.all_releases else given.release or [config.release]
    want = at(wanted(config, names, given.with_package), dict(given.repository))
    mirrors = _mirrors(given)
    folder = given.to.resolve()
    key = signing.Key(given.key_folder.expanduser().resolve())
    with _locked(folder), contextlib.closing(key):
        if key.ensure():
            say(f"made the bundle's key in {key.folder}: keep it, and keep it to yourself")
        if not given.refresh and content.complete(folder, want.inputs, key):
            say(f"{folder} is complete: nothing was downloaded (--refresh looks for newer packages)")
        else:
            _collect(folder, want, config, mirrors, given, key, say)
        public = folder.with_name(f"{folder.name}.asc")
        if not public.exists() or public.read_text() != key.public():
            signing.write(public, key.public())
    say(f'on the host: bundle = {{"path": ..., "key": ...}} with the key from {public}')


def _mirrors(given: argparse.Namespace) -> Mirrors:
    here = mirrors_here()
    found = Mirrors(given.debian_mirror or here.main, given.security_mirror or here.security)
    if found.main is None:
        raise BundleError(
            "this machine's apt sources name no Debian mirror: give --debian-mirror and --security-mirror. "
            "Nothing was written"
        )
    return found


def _collect(
    folder: Path, want: Wanted, config: Config, mirrors: Mirrors, given: argparse.Namespace, key: signing.Key, say: Say
) -> None:
    """Sizes first, then everything, then the signature."""
    work = folder / ".work"
    hashes = Hashes(folder, work / "hashes.json")
    settings = apt_settings(run(["apt-config", "dump"]), os.environ)
    apt = packages.Apt(work / "apt", mirrors, want.repositories, settings=settings, preferences=want.preferences)
    if mirrors.security is None:
        say("no mirror for Debian's security updates is known (--security-mirror): the bundle goes without them")
    say("asking the package mirrors and registries what there is")
    apt.update()
    names = [*want.packages, *apt.known(want.optional)]
    debs = apt.closure(names)
    scratch = work / "skopeo"
    scratch.mkdir(exist_ok=True)
    found = [
        images.find(image, images.origins(image, config.runtime.image_sources, given.images_from, scratch))
        for image in want.images
    ]
    _say_sizes(folder, want, debs, found, say)
    (folder / "InRelease").unlink(missing_ok=True)
    apt.download(names, debs, folder / "packages", hashes, say)
    say(f"packages: {len(debs)} verified")
    hashes.save()
    images.bring(found, folder / "images", scratch, hashes, say)
    say(f"images: {len(found)} verified")
    hashes.save()
    _bring_weights(folder, want, config, given.weights_from, hashes, say)
    files = content.files(folder, want, debs)
    manifest = content.manifest(folder, want, files, apt.index(debs), hashes, datetime.now(UTC))
    signing.write(folder / "Packages", manifest.packages)
    signing.write(folder / "MANIFEST.json", manifest.text)
    signing.write(folder / "InRelease", key.sign(signing.release_text(folder, datetime.now(UTC))))
    hashes.save()
    shutil.rmtree(work / "apt")
    shutil.rmtree(scratch)
    for line in want.left_out:
        say(f"left out: {line}")
    say(f"{folder} is complete: {len(files)} files, {size_text(manifest.bytes)}")


def _bring_weights(folder: Path, want: Wanted, config: Config, local: Sequence[Path], hashes: Hashes, say: Say) -> None:
    place = folder / "weights"
    if weights.wrong(want.models, place, hashes):
        weights.bring(want.models, place, weights.sources(config.weights, local), config.weights)
    if wrong := weights.wrong(want.models, place, hashes):
        raise BundleError(f"weights/{wrong[0]} is not what the manifest says; the bundle is not complete: run again")
    for other in sorted(path.name for path in place.iterdir() if path.is_dir() and len(path.name) == 40):
        if other not in want.models:
            say(f"weights/{other} stays in the folder, but is no part of the bundle: no release of it uses it")
    say(f"weights: {len(want.models)} models verified")
    hashes.save()


def _say_sizes(folder: Path, want: Wanted, debs: list[packages.Deb], found: list[images.Image], say: Say) -> None:
    """What there is to come. Raises BundleError when there is no room for it."""
    come = {
        "packages": sum(deb.bytes for deb in debs if not (folder / "packages" / deb.name).exists()),
        "images": images.missing_bytes(found, folder / "images"),
        "weights": sum(weights.missing(want.models, folder / "weights").values()),
    }
    for name, size_bytes in come.items():
        say(f"{name}: {size_text(size_bytes)} to bring")
    needed, free = sum(come.values()) * 1.02, shutil.disk_usage(folder).free
    say(f"total: {size_text(sum(come.values()))} to bring, {size_text(free)} free")
    if needed > free:
        raise BundleError(
            f"{folder} has {size_text(free)} free and {size_text(int(needed))} is needed; nothing was downloaded"
        )


def configuration(inventory: str, name: str) -> Config:
    """The configuration of host ``name``, without its bundle: that is what is being made."""
    if not Path(inventory).is_file():
        raise BundleError(f"--inventory {inventory}: no such file; nothing was written")
    with ctx_state.use(State()):
        there = make_inventory_from_files(inventory, cwd=str(Path.cwd()))
    known = sorted(host.name for host in there)
    if name not in known:
        raise BundleError(f"--host {name}: {inventory} has {', '.join(known) or 'no host'}; nothing was written")
    data: dict[str, Any] = dict(there.get_host(name).data.dict())
    return load({key: value for key, value in data.items() if key != "bundle"}, name)


def _require_programs() -> None:
    absent = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if absent:
        raise BundleError(f"{', '.join(absent)} must be installed here first (apt-get install); nothing was written")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One run at a time; a run that died leaves no lock."""
    made = [path for path in (folder, folder / ".work") if not path.exists()]
    if not made and not folder.is_dir():
        raise BundleError(f"--to {folder} is not a folder; nothing was written")
    strange = [path.name for path in folder.iterdir()] if folder.exists() and folder / ".work" in made else []
    if strange and strange != ["lost+found"]:
        raise BundleError(f"--to {folder} holds other files ({strange[0]}); give an empty folder. Nothing was written")
    (folder / ".work").mkdir(parents=True, exist_ok=True)
    with (folder / ".work/lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(f"another run is filling {folder}; wait for it. Nothing was written") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
