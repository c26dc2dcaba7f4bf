from typing import Final

from tandem.config import Config
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

JOURNAL: Final = "/etc/systemd/journald.conf.d/60-tandem.conf"


def render_logs(config: Config) -> Tree:
    """How long the journal keeps what edge, engines and WebUI write, and how much of it."""
    text = render_template(
        "logs/journald.conf.j2",
        retention_days=config.logs.retention_days,
        maximum_mib=config.logs.maximum_mib,
    )
    return Tree({JOURNAL: File(text)})
