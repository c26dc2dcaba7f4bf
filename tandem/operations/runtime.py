"""Container images, by digest."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import host_program
from tandem.facts.images import ImageStates
from tandem.operations.live import Commands, LiveCommand


@operation()
def images(
    wanted: Sequence[str], sources: Sequence[Mapping[str, Any]], store: str = "/var/lib/containers/storage"
) -> Commands:
    """Brings the images that no local store has; a digest that no source has ends the run.

    + wanted: NAME@sha256:DIGEST
    + sources: tried in this order, as ``tandem.hostside.fetch_image`` reads them
    + store: Podman's image store; what passes through a temporary file does so beside it
    """
    seen = host.get_fact(ImageStates, question=list(wanted))
    missing = [image for image in wanted if not seen[image]]
    if not missing:
        host.noop(f"all {len(wanted)} images are in the store")
    for image in missing:
        journal.note(host, f"brought the image {image}")
        job = {"image": image, "temporary": f"{store}/tmp", "sources": list(sources)}  # noqa: S108
        yield LiveCommand(host_program("fetch_image", job))
