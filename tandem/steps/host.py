from typing import Final

from pyinfra.api import deploy

from tandem.domain.slots import UIDS
from tandem.domain.units import Unit
from tandem.operations import host, tree, units
from tandem.render.bundle import apt_options, render_bundle
from tandem.render.host import SETTINGS, render_foundation
from tandem.render.runtime import render_runtime
from tandem.render.storage import render_storage
from tandem.steps.run import Run

PACKAGES: Final = (
    "apache2-utils",  # htpasswd: bcrypt hashes for the browser's password prompt
    "ca-certificates",
    "crun",
    "e2fsprogs",
    "nginx",
    "openssl",
    "podman",
    "skopeo",  # images from mirrors and OCI layouts under their own name and digest
    "systemd-timesyncd",
    "util-linux-extra",
    "xfsprogs",
)


@deploy("Host")
def prepare(run: Run) -> None:
    """Folders, users, kernel settings, Tandem's program, then packages: a stock Nginx is masked before it is
    installed.
    """
    config = run.config
    foundation = render_foundation() | render_storage(run.name, config) | render_runtime(config) | render_bundle(config)
    tree.apply(name="Tandem's own files", tree=foundation, prune=())
    host.packages(
        name="Debian packages",
        names=[*PACKAGES, *run.config.host.extra_packages],
        timeout_seconds=run.config.host.package_mirror_timeout_seconds,
        options=apt_options(run.config),
    )
    host.base(name="Users and kernel settings", users=UIDS, settings=SETTINGS)
    units.converge(name="Time synchronisation", wanted=[Unit("systemd-timesyncd.service")])
