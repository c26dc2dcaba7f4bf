"""What every other noun stands on: folders, users, kernel settings, Tandem's own program, and no stock Nginx."""

from pathlib import Path
from typing import Final

import tandem
from tandem.config import Config
from tandem.domain.secrets import paths as secret_paths
from tandem.domain.slots import UIDS
from tandem.render.templates import render_template
from tandem.render.tree import Directory, File, Generated, Group, Link, Tree

SETTINGS: Final = {"net.core.somaxconn": "4096", "net.ipv4.tcp_slow_start_after_idle": "0"}
PACKAGE: Final = Path(tandem.__file__).parent


def render_foundation() -> Tree:
    """What is applied before any package is installed: it needs nothing but python3."""
    return Tree(
        {
            # Installing nginx would otherwise start a server of its own on port 80.
            "/etc/systemd/system/nginx.service": Link("/dev/null"),
            "/etc/tandem": Directory(),
            "/etc/tandem/secrets": Directory(mode="0700"),
            "/etc/sysusers.d/tandem.conf": File(render_template("host/sysusers.conf.j2", users=sorted(UIDS.items()))),
            "/etc/sysctl.d/60-tandem.conf": File(
                render_template("host/sysctl.conf.j2", settings=sorted(SETTINGS.items()))
            ),
            "/usr/local/bin/tandemctl": File(render_template("host/tandemctl.j2"), mode="0755"),
            "/var/lib/tandem": Directory(),
        },
        (program(),),
    )


def render_secrets(config: Config) -> Tree:
    """Every secret file by presence, mode and owner; the content is made on the host and stays there."""
    optional = ["notify_url"] if config.notify and config.notify.url else []
    known = secret_paths(config.edge.users, config.edge.clients, optional)
    return Tree({path: Generated(mode, uid, gid) for path, mode, uid, gid in known})


def program() -> Group:
    """``tandem.hostside`` and ``tandem.domain`` as plain files."""
    sources = [PACKAGE / "__init__.py", *PACKAGE.glob("hostside/*.py"), *PACKAGE.glob("domain/*.py")]
    files = {f"tandem/{source.relative_to(PACKAGE)}": File(source.read_text()) for source in sources}
    return Group("/usr/local/lib/tandem", files)
