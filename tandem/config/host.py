from typing import Annotated

from pydantic import Field

from tandem.config.base import Form, Items, Model

DebianPackage = Annotated[
    str, Form(r"[a-z0-9][a-z0-9+.-]+", "a Debian package name", "a name such as htop, without a version")
]


class HostConfig(Model):
    """The machine itself: what it must have before anything is touched."""

    minimum_memory_gib: int = Field(default=60, ge=1, description="Refuse a host with less memory (GiB).")
    minimum_disk_gib: int = Field(default=60, ge=1, description="Refuse when / has less free space than this (GiB).")
    extra_packages: Items[DebianPackage] = Field(
        default=(), description="Debian packages to install besides Tandem's own."
    )
    package_mirror_timeout_seconds: int = Field(
        default=60, ge=1, description="Give up on a silent package mirror after this long."
    )
    accept_untested_os: bool = Field(default=False, description="Go on when the host is not Debian 13.")
    security_updates: bool = Field(
        default=True, description="Install Debian's security updates by themselves; nothing that serves is restarted."
    )
