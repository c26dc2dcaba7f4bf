"""Python packages for the rehearsal images, got with uv the way the operator's own pip would get them."""

import ast
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tandem.rehearsal.image_store import LEASHED
from tandem.rehearsal.shell import RehearsalError, run

REQUIREMENTS = Path(__file__).with_name("requirements")
PYTHON = "3.11"  # of Debian 12, the images' base
PLATFORM = "x86_64-manylinux_2_36"
SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"
MANY = {"extra-index-url": "--extra-index-url", "find-links": "--find-links", "trusted-host": "--allow-insecure-host"}
MISSING_TORCH = (
    "\nThe engine image needs torch 2.13.0 built for CPUs, which the default package index does not carry. "
    "Add a place that has it to pip's own settings (extra-index-url or find-links) and run again; nothing else changed."
)


def pip_settings(listing: str) -> dict[str, str]:
    """`pip config list` as {option: value}: for every command or for install; the environment wins over files."""
    found: dict[str, str] = {}
    for wanted in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            section, _, option = name.rpartition(".")
            if section == wanted:
                found[option] = str(ast.literal_eval(value))
    return found


def uv_options(settings: Mapping[str, str]) -> list[str]:
    """The same places to look in, as arguments of uv; like pip, the best match of all of them."""
    options = ["--index-strategy", "unsafe-best-match"]
    if "index-url" in settings:
        options += ["--default-index", settings["index-url"]]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    for name, argument in MANY.items():
        for value in settings.get(name, "").split():
            options += [argument, value]
    return options


def uv_environment(settings: Mapping[str, str], cache: Path) -> dict[str, str]:
    """The same certificates, proxy and patience, as uv reads them."""
    names = (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT"), ("proxy", "ALL_PROXY"),
             ("timeout", "UV_HTTP_TIMEOUT"))  # fmt: skip
    given = {variable: settings[name] for name, variable in names if name in settings}
    return {**given, "UV_CACHE_DIR": str(cache), "UV_NO_PROGRESS": "1"}


def uv_program() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise RehearsalError("uv is not installed: it belongs to the development group of pyproject.toml")
    return found


def install(locks: Sequence[str], root: Path, cache: Path) -> None:
    """Installs what the named lock files list, every file checked by its hash, as `root` would see it."""
    listing = run([sys.executable, "-m", "pip", "config", "list"])
    settings = pip_settings(listing)
    lists = [argument for lock in locks for argument in ("-r", str(REQUIREMENTS / lock))]
    command = [uv_program(), "pip", "install", "--quiet", "--no-config", "--target", str(root / SITE_PACKAGES)]
    command += ["--python-version", PYTHON, "--python-platform", PLATFORM, "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--link-mode", "hardlink", *uv_options(settings), *lists]
    try:
        run([*LEASHED, *command], env=uv_environment(settings, cache))
    except RehearsalError as error:
        raise RehearsalError(f"{error}{MISSING_TORCH if 'torch' in str(error) else ''}") from None


def add_command(root: Path, name: str, module: str, function: str) -> None:
    """The console command of a package, for the image's own interpreter."""
    script = root / "usr/local/bin" / name
    script.parent.mkdir(parents=True, exist_ok=True)
    body = f"import sys\n\nfrom {module} import {function}\n\n"
    script.write_text(f'#!/usr/bin/python3\n{body}if __name__ == "__main__":\n    sys.exit({function}())\n')
    script.chmod(0o755)


def drop(root: Path, names: Sequence[str]) -> None:
    """Removes folders of site-packages that nothing reads at run time."""
    for name in names:
        shutil.rmtree(root / SITE_PACKAGES / name, ignore_errors=True)
