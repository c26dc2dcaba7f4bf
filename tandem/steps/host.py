from typing import Final

from pyinfra.api import deploy

from tandem.config import Config
from tandem.domain.slots import UIDS
from tandem.operations import host, tree
from tandem.render.bundle import apt_options, render_bundle
from tandem.render.certificate import packages as certificate_packages
from tandem.render.firewall import render_firewall_units
from tandem.render.host import SETTINGS, render_foundation
from tandem.render.logs import render_logs
from tandem.render.runtime import render_runtime
from tandem.render.storage import render_storage
from tandem.render.updates import render_updates, update_packages
from tandem.steps.run import Run

PACKAGES: Final = (
    "age",  # backups are encrypted with it, and opened again
    "apache2-utils",  # htpasswd: bcrypt hashes for the browser's password prompt
    "ca-certificates",
    "crun",
    "e2fsprogs",
    "nftables",
    "nginx",
    "openssl",
    "podman",
    "skopeo",  # images from mirrors and OCI layouts under their own name and digest
    "systemd-timesyncd",
    "util-linux-extra",
    "xfsprogs",
)


def packages(config: Config) -> list[str]:
    """Every Debian package that a host with this configuration has of us."""
    return [*PACKAGES, *update_packages(config), *certificate_packages(config), *config.host.extra_packages]


@deploy("Host")
def prepare(run: Run) -> None:
    """Folders, users, kernel settings, Tandem's program, then packages: a stock Nginx is masked before it is
    installed.
    """
    config = run.config
    foundation = render_foundation() | render_storage(run.name, config) | render_runtime(config)
    foundation |= render_bundle(config) | render_updates(config) | render_logs(config) | render_firewall_units(config)
    tree.apply(name="Tandem's own files", tree=foundation, prune=())
    host.packages(
        name="Debian packages",
        names=packages(config),
        timeout_seconds=run.config.host.package_mirror_timeout_seconds,
        options=apt_options(run.config),
    )
    host.base(name="Users and kernel settings", users=UIDS, settings=SETTINGS)
