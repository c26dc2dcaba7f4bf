from typing import Final

from tandem.config import Config
from tandem.domain.storage import Disk, filesystem_uuid
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

TRIM_TIMER: Final = "tandem-weights-trim.timer"


def mount_unit(directory: str) -> str:
    """The unit name that systemd demands for a mount point: ``/srv/weights`` -> ``srv-weights.mount``."""
    parts = directory.strip("/").replace("-", "\\x2d").split("/")
    return "-".join(parts) + ".mount"


def weights_disk(host: str, config: Config) -> Disk:
    """The disk as declared; its UUID is the declared one, else the one that Tandem gives the filesystem it makes."""
    storage = config.storage
    if storage is None:
        raise ValueError("no storage is declared")
    return Disk(
        device=storage.device,
        filesystem=storage.filesystem,
        label=storage.label,
        uuid=storage.uuid or filesystem_uuid(host, storage.label),
        directory=config.weights.directory.rstrip("/"),
        erase=storage.erase,
        needed_bytes=sum(file.bytes for file in config.wanted.model.manifest.files.values()),
    )


def render_storage(host: str, config: Config) -> Tree:
    """The mount and the weekly trim of the weights disk; systemd's own trim covers /etc/fstab alone, and it is not
    there.
    """
    if config.storage is None:
        return Tree()
    disk = weights_disk(host, config)
    unit = render_template(
        "storage/weights.mount.j2", uuid=disk.uuid, directory=disk.directory, filesystem=disk.filesystem
    )
    units = {
        mount_unit(disk.directory): unit,
        TRIM_TIMER: render_template("storage/weights-trim.timer.j2"),
        TRIM_TIMER.replace(".timer", ".service"): render_template(
            "storage/weights-trim.service.j2", directory=disk.directory
        ),
    }
    return Tree({f"/etc/systemd/system/{name}": File(content) for name, content in units.items()})
