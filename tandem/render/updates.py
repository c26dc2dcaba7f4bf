from typing import Final

from tandem.config import Config
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

SETTINGS: Final = "/etc/apt/apt.conf.d/99tandem-updates"
"""apt reads its files in order; this comes after those of the distribution and of the package itself."""


def update_packages(config: Config) -> list[str]:
    """What has to be installed for them."""
    return ["unattended-upgrades"] if _wanted(config) else []


def render_updates(config: Config) -> Tree:
    """Whether security updates come by themselves. What of them stays away for the driver's sake: ``render.gpu``."""
    reason = "host/security_updates is False" if config.bundle is None else "the bundle is the only source"
    return Tree({SETTINGS: File(render_template("host/updates.conf.j2", wanted=_wanted(config), reason=reason))})


def _wanted(config: Config) -> bool:
    return config.host.security_updates and config.bundle is None
