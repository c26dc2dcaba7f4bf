"""The guard: its unit, and what it is told about this host. Pure."""

import hashlib
import json
from typing import Final

from tandem.config import Config
from tandem.render.host import program
from tandem.render.notify import notify_settings
from tandem.render.templates import render_template
from tandem.render.tree import Directory, File, Tree

GUARD: Final = "tandem-guard"
SETTINGS: Final = "/etc/tandem/guard.json"


def render_guard(config: Config) -> Tree:
    """The unit names the program and the settings that it was started with, so that another one restarts it."""
    settings = json.dumps(guard_settings(config), indent=1) + "\n"
    text = render_template(
        f"guard/{GUARD}.service.j2",
        program=program().digest,
        settings=hashlib.sha256(settings.encode()).hexdigest()[:16],
    )
    return Tree(
        {
            f"/etc/systemd/system/{GUARD}.service": File(text),
            SETTINGS: File(settings, mode="0600"),
            "/var/lib/tandem/rollouts": Directory(mode="0700"),
        }
    )


def guard_settings(config: Config) -> dict[str, object]:
    """``hang_seconds``: an engine with work makes a token in this time; ``ready_seconds``: a new one completes a
    request in this time after its start; ``drain_seconds``: so long an answer may take.
    """
    return {
        "hang_seconds": config.upgrade.comparison.hang_seconds,
        "ready_seconds": config.engine.ready_timeout_seconds,
        "drain_seconds": config.router.longest_stream_seconds,
        "notify": notify_settings(config.notify),
    }
