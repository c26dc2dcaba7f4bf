"""A container image store of its own, made with buildah, and work inside an image's root folder."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tandem.rehearsal.shell import RehearsalError, run

# $1 is the root, $2 a folder of ours to be seen at /mnt; all mounts end with this process.
ENTER = """set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --rbind /sys "$1/sys"
mount -t tmpfs tmpfs "$1/tmp"
mount --bind "$2" "$1/mnt"
root=$1
shift 2
exec chroot "$root" "$@"
"""
INSIDE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}  # noqa: S108  inside the image

# Ends with the build, however that ends; the second form takes along whatever the command has started.
LEASHED = ("setpriv", "--pdeathsig=KILL", "nice", "-n", "5")
LEASHED_WITH_CHILDREN = ("setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                         "nice", "-n", "5")  # fmt: skip


@dataclass(frozen=True)
class Store:
    """A containers-storage folder; `shared` is another one whose images can be used here without changing it."""

    folder: Path
    shared: Path | None = None

    def buildah(self, *arguments: str) -> str:
        options = [f"--root={self.folder}/root", f"--runroot={self.folder}/run", "--storage-driver=overlay"]
        if self.shared:
            options.append(f"--storage-opt=overlay.imagestore={self.shared}")
        return run([*LEASHED, "buildah", *options, *arguments]).strip()

    def begin(self, image: str) -> tuple[str, Path]:
        """A working container of `image` ("scratch": an empty one) and its root folder."""
        container = self.buildah("from", "--pull=never", image)
        return container, Path(self.buildah("mount", container))

    def commit(self, container: str, name: str, settings: Sequence[str]) -> str:
        """Keeps a working container as image `name`; returns NAME@DIGEST."""
        self.buildah("umount", container)
        self.buildah("config", *settings, container)
        self.buildah("commit", "--quiet", "--disable-compression", "--format=oci", "--rm", container, f"{name}:latest")
        images = json.loads(self.buildah("images", "--json", f"{name}:latest"))
        return f"{name}@{images[0]['digest']}"


def run_inside(root: Path, argv: Sequence[str], work: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs a program of the image at `root`, without network, `work` being /mnt there; returns what it printed."""
    command = [*LEASHED_WITH_CHILDREN, "unshare", "--net", "sh", "-c", ENTER, "sh", str(root), str(work)]
    settings = [f"{name}={value}" for name, value in {**INSIDE, **(environment or {})}.items()]
    return run([*command, "env", "-i", *settings, *argv])


@contextlib.contextmanager
def opened(images: Path, image: str, scratch: Path) -> Iterator[Path]:
    """The root folder of an image of the finished store `images`, to be changed at will: nothing of it is kept."""
    unmount_below(scratch)
    with TemporaryDirectory(dir=scratch) as folder:
        store = Store(Path(folder), shared=images)
        try:
            container, root = store.begin(image)
            yield root
            store.buildah("rm", container)
        finally:
            unmount_below(Path(folder))


def unmount_below(folder: Path) -> None:
    """Unmounts what an earlier, killed build left mounted below `folder`, innermost first."""
    prefix = f"{folder.resolve()}/"
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    names = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point) for point in points]
    for point in sorted((name for name in names if name.startswith(prefix)), reverse=True):
        run(["umount", point])


def require_root() -> None:
    if os.geteuid() != 0:
        raise RehearsalError("building images mounts file systems: run it as root (sudo)")
