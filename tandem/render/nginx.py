"""What the edge and the routers have in common: how an Nginx process of ours is laid out on the host."""

import hashlib
from dataclasses import dataclass
from typing import Final

from tandem.config.edge import Client, Limit
from tandem.render.templates import render_template
from tandem.render.tree import Entry, File, Group, Link, Tree

DIGEST_PLACEHOLDER: Final = "@CONFIG_DIGEST@"
INFERENCE_BODY_MIB: Final = 32
"""The largest inference request; vLLM's own limit is the same."""


def config_digest(text: str) -> str:
    """The first 16 hex digits of the SHA-256 of a configuration that still holds its placeholder."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_config_digest(text: str) -> str:
    """``text`` with its own digest in it: what the running process answers on /config."""
    return text.replace(DIGEST_PLACEHOLDER, config_digest(text))


def validation(user: str, *properties: str) -> tuple[str, ...]:
    """A command that tests a candidate as the unit would see it, and leaves nothing behind.

    It runs as the unit's user with a private /tmp as Nginx prefix, so that pid, temporary folders and whatever else
    ``nginx -t`` makes vanish with it. The user and the secrets must exist; the unit need not.
    """
    wanted = (f"User={user}", "PrivateTmp=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", *properties)
    options = [word for item in wanted for word in ("-p", item)]
    nginx = ("/usr/sbin/nginx", "-t", "-q", "-e", "stderr", "-p", "/tmp/", "-c", "{root}/nginx.conf")  # noqa: S108
    return ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", *options, *nginx)


def process(unit: str, config_folder: str, config: str, service: str, validate: tuple[str, ...]) -> Tree:
    """The tree of one Nginx process: its configuration group, its unit file, and the link that enables it at boot."""
    path = f"/etc/systemd/system/{unit}.service"
    entries: dict[str, Entry] = {
        path: File(service),
        f"/etc/systemd/system/multi-user.target.wants/{unit}.service": Link(path),
    }
    group = Group(config_folder, {"nginx.conf": File(with_config_digest(config))}, validate)
    return Tree(entries, (group,))


def unavailable_page() -> str:
    """The page that people see while the WebUI is away: one line, without single quotes or dollar signs."""
    return " ".join(line.strip() for line in render_template("router/unavailable.html").splitlines())


@dataclass(frozen=True)
class Zone:
    """Shared memory in which Nginx counts. A zone that gets another key keeps the old one, silently, so a zone's name
    carries the hash of its definition: a changed one is another zone.
    """

    prefix: str
    key: str
    rest: str = ""

    @property
    def name(self) -> str:
        return f"{self.prefix}_{hashlib.sha256(f'{self.key} {self.rest}'.encode()).hexdigest()[:8]}"

    @property
    def definition(self) -> str:
        """What follows ``limit_req_zone`` or ``limit_conn_zone``."""
        return f"{self.key} zone={self.name}:1m{self.rest}"


def rate_zone(prefix: str, key: str, limit: Limit | Client) -> Zone:
    return Zone(prefix, key, f" rate={limit.requests_per_second}r/s")
