"""The order of Debian's package versions: epoch, upstream version, revision (Debian policy 5.6.12). Pure."""

from typing import Any

from tandem.domain.kernels import version_key


def package_version_key(version: str) -> tuple[Any, ...]:
    """Sorts as dpkg sorts."""
    epoch, colon, rest = version.partition(":")
    upstream, _, revision = (rest if colon else version).rpartition("-")
    return int(epoch) if colon else 0, version_key(upstream or revision), version_key(revision if upstream else "")


def upstream(version: str) -> str:
    """``580.159.04`` of ``1:580.159.04-1``."""
    return version.split(":", 1)[-1].partition("-")[0]
