"""A host without a network is installed from a bundle alone; a bundle that can't serve it is refused before that."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.deploying import ROOT, Ended, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import nothing_changes, refused

NAME = os.environ.get("TANDEM_OFFLINE_HOST", "gpu4")
FOLDER = "/root/bundle"
DEPLOY = "tests/faults/deploys/offline.py"
LIMIT_SECONDS = 600
NO_NETWORK = """
sed -i /^Gateway=/d /etc/systemd/network/10-host0.network
ip route del default 2>/dev/null || true
ip -6 route del default 2>/dev/null || true
: >/etc/resolv.conf
ip route get 192.0.2.1 && exit 1
ip -6 route get 2001:db8::1 && exit 1
exit 0
"""


def tiny_image(folder: Path) -> str:
    """An image of one file, as an OCI layout on this machine; answers NAME@DIGEST."""
    source = (ROOT / "tests/faults/programs/tiny_image.py").read_text()
    question = json.dumps({"folder": str(folder), "text": "offline"})
    said = subprocess.run(
        [sys.executable, "-"], input=f"QUESTION = {question!r}\n{source}", capture_output=True, text=True, check=True
    )
    return f"registry.test/team/tiny@{json.loads(said.stdout)['digest']}"


@dataclass(frozen=True)
class Bundle:
    """``first`` is what a run that was killed said, ``second`` what the one after it said."""

    folder: Path
    work: Workplace
    data: dict[str, Any]
    first: str
    second: str

    def make(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(self.folder, *options), text=True, check=False, **surroundings(self.work))

    def install(self, changes: dict[str, Any] | None = None) -> Ended:
        return self.work.run(self.work.inventory(NAME, {**self.data, **(changes or {})}), DEPLOY)

    def there(self, name: str = "") -> Path:
        """The copy on the host, seen from this machine."""
        return host.folder(STATE, NAME) / "root" / FOLDER.lstrip("/") / name


def command(folder: Path, *options: str) -> list[str]:
    parts = {"inventory": "inventories/rehearsal.py", "host": NAME, "to": folder, "key-folder": folder.parent / "key",
             "images-from": folder.parent / "layout", "weights-from": STATE / "models"}  # fmt: skip
    words = [word for name, value in parts.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "tandem.bundle", *words, *options]


def surroundings(work: Workplace) -> dict[str, Any]:
    return {
        "cwd": work.folder,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "timeout": LIMIT_SECONDS,
    }


@pytest.fixture(scope="module")
def machine() -> Iterator[str]:
    """A fresh host of these tests alone."""
    host.remove(STATE, NAME)
    host.create(STATE, NAME, lambda _sentence: None, blank=False)
    host.boot(STATE, NAME)
    yield NAME
    host.remove(STATE, NAME)


@pytest.fixture(scope="module")
def bundle(machine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A bundle of a tiny image, the small model and the real packages: killed once while it was made, then made."""
    base = tmp_path_factory.mktemp("offline")
    folder, work = base / "bundle", Workplace(base / "work")
    image = tiny_image(base / "layout")
    built = dict(hosts(STATE))[machine]
    data = {
        "releases": {name: {**one, "image": image} for name, one in built["releases"].items()},
        "webui": {**built["webui"], "image": image},
        "runtime": {},
        "storage": None,
        "gpu": {"driver_source": "none", "container_toolkit": False},
        "bundle": {"path": FOLDER, "key": str(base / "bundle.asc")},
    }
    work.inventory(machine, data)
    first = killed_at_half(command(folder), folder, work)
    second = subprocess.run(command(folder), text=True, check=False, **surroundings(work))
    assert second.returncode == 0, second.stdout
    made = Bundle(folder, work, data, first, second.stdout)
    OnHost(machine).shell(NO_NETWORK)
    shutil.copytree(folder, made.there())
    yield made
    shutil.rmtree(folder)


def killed_at_half(words: list[str], folder: Path, work: Workplace) -> str:
    """kill -9 as soon as many packages are there."""
    options = surroundings(work)
    options.pop("timeout")
    deadline = time.monotonic() + LIMIT_SECONDS
    process = subprocess.Popen(words, text=True, **options)
    while len(list(folder.glob("packages/*.deb"))) < 100:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    return str(process.communicate()[0])


def bring_size(said: str, what: str) -> str:
    """ "329 MiB" of the line "packages: 329 MiB to bring"."""
    return next(line for line in said.splitlines() if f"{what}: " in line).partition(f"{what}: ")[2]


def test_a_bundle_that_was_cut_short_goes_on_where_it_stopped(bundle: Bundle) -> None:
    all_of_it, rest = (int(bring_size(said, "packages").split()[0]) for said in (bundle.first, bundle.second))
    assert 0 < rest < all_of_it, (bundle.first, bundle.second)
    assert "is complete" not in bundle.first
    assert "is complete" in bundle.second


def test_a_second_run_downloads_nothing(bundle: Bundle) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.folder.rglob("*") if ".work" not in path.parts}
    again = bundle.make()
    assert (again.returncode, "nothing was downloaded" in again.stdout) == (0, True), again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_key_stays_with_the_operator(bundle: Bundle) -> None:
    secret = [
        path for path in bundle.folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()[:4096]
    ]
    assert secret == []
    assert (bundle.folder.parent / "key").stat().st_mode & 0o777 == 0o700


def test_a_host_without_the_bundles_disk_is_refused(bundle: Bundle) -> None:
    with nothing_changes(NAME):
        ended = bundle.install({"bundle": {**bundle.data["bundle"], "path": "/mnt/nothing"}})
        refused(ended, "there is no folder /mnt/nothing", "nothing was changed on it")


def test_a_bundle_that_was_never_finished_is_refused(bundle: Bundle) -> None:
    bundle.there("InRelease").rename(bundle.there("aside"))
    with nothing_changes(NAME):
        refused(bundle.install(), f"{FOLDER} is not complete (InRelease is missing)")
    bundle.there("aside").rename(bundle.there("InRelease"))


def test_a_bundle_that_was_copied_in_part_is_refused(bundle: Bundle) -> None:
    deb = next(bundle.there("packages").glob("podman_*.deb"))
    deb.rename(bundle.there("aside"))
    with nothing_changes(NAME):
        refused(bundle.install(), f"is not complete (packages/{deb.name} is missing or cut short)")
    bundle.there("aside").rename(deb)


def test_a_bundle_that_another_key_signed_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = bundle.folder.parent / "other"
    made = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from tandem.bundling.signing import Key\n"
         "key = Key(Path(sys.argv[1])); key.ensure(); print(key.public()); key.close()", str(other)],
        text=True, check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    (tmp_path / "other.asc").write_text(made.stdout)
    with nothing_changes(NAME):
        ended = bundle.install({"bundle": {"path": FOLDER, "key": str(tmp_path / "other.asc")}})
        refused(ended, "does not fit the key of bundle/key", "Missing key")


def test_a_bundle_for_another_release_is_refused(bundle: Bundle) -> None:
    with nothing_changes(NAME):
        refused(bundle.install({"release": "wrong"}), "was made for release a and lacks weights/", "make bundle")


def test_a_bundle_without_a_wanted_package_is_refused(bundle: Bundle) -> None:
    with nothing_changes(NAME):
        changes = {"host": {"minimum_memory_gib": 8, "minimum_disk_gib": 4, "extra_packages": ["htop"]}}
        refused(bundle.install(changes), "lacks the package htop", "make bundle")


def test_a_damaged_file_is_found_before_anything_is_touched(bundle: Bundle) -> None:
    deb = next(bundle.there("packages").glob("nginx_*.deb"))
    right = deb.read_bytes()
    deb.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with nothing_changes(NAME):
        refused(bundle.install(), f"{FOLDER} is damaged: packages/{deb.name}", "nothing was changed")
    deb.write_bytes(right)


def test_a_host_without_a_network_is_installed_from_the_bundle_alone(bundle: Bundle) -> None:
    there = OnHost(NAME)
    there.shell(NO_NETWORK)
    first = bundle.install()
    assert first.status == 0, first.output
    second = bundle.install()
    assert (second.status, second.changed) == (0, []), second.output
    lists = there.shell("ls /var/lib/apt/lists | grep -v -e lock -e partial -e auxfiles")
    assert set(lists.split()) == {"_root_bundle_InRelease", "_root_bundle_Packages"}
    image = bundle.data["webui"]["image"]
    assert there.shell(f"podman image inspect --format '{{{{.RepoDigests}}}}' {image}").strip() == f"[{image}]"
    revision = bundle.data["releases"]["a"]["model"]["manifest"]["revision"]
    assert there.shell(f"test -f /srv/weights/{revision}/config.json && echo there").strip() == "there"
