"""The offline bundle as an apt source, with the key that it must be signed with."""

from typing import Final

from tandem.config import Config
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

SOURCE: Final = "/etc/apt/sources.list.d/tandem-bundle.sources"
KEY: Final = "/etc/apt/keyrings/tandem-bundle.asc"


def render_bundle(config: Config) -> Tree:
    if config.bundle is None:
        return Tree()
    text = render_template("bundle/tandem-bundle.sources.j2", path=config.bundle.path, key=KEY)
    return Tree({KEY: File(config.bundle.key), SOURCE: File(text)})


def apt_options(config: Config) -> list[str]:
    """Settings for every apt command of Tandem's on this host: with a bundle, no other source exists."""
    if config.bundle is None:
        return []
    # The host's own package lists stay as they are.
    only = [f"Dir::Etc::SourceList={SOURCE}", "Dir::Etc::SourceParts=/dev/null"]
    return [*only, "APT::Get::List-Cleanup=false"]
