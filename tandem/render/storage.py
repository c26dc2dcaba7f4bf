from tandem.config import Config
from tandem.domain.storage import filesystem_uuid
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree


def mount_unit(directory: str) -> str:
    """The unit name that systemd demands for a mount point: ``/srv/weights`` -> ``srv-weights.mount``."""
    parts = directory.strip("/").replace("-", "\\x2d").split("/")
    return "-".join(parts) + ".mount"


def weights_uuid(host: str, config: Config) -> str:
    """The UUID of the weights filesystem: the declared one, else the one that Tandem gives it."""
    if config.storage is None:
        raise ValueError("no storage is declared")
    return config.storage.uuid or filesystem_uuid(host, config.storage.label)


def render_storage(host: str, config: Config) -> Tree:
    if config.storage is None:
        return Tree()
    directory = config.weights.directory
    unit = render_template(
        "storage/weights.mount.j2",
        uuid=weights_uuid(host, config),
        directory=directory,
        filesystem=config.storage.filesystem,
    )
    return Tree({f"/etc/systemd/system/{mount_unit(directory)}": File(unit)})
