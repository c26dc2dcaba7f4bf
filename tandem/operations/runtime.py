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
def images(wanted: Sequence[str], sources: Sequence[Mapping[str, Any]]) -> Commands:
    """Brings the images that no local store has; a digest that no source has ends the run.

    + wanted: NAME@sha256:DIGEST
    + sources: tried in this order, as ``tandem.hostside.fetch_image`` reads them
    """
    seen = host.get_fact(ImageStates, question=list(wanted))
    missing = [image for image in wanted if not seen[image]]
    if not missing:
        host.noop(f"all {len(wanted)} images are in the store")
    for image in missing:
        journal.note(host, f"brought the image {image}")
        yield LiveCommand(host_program("fetch_image", {"image": image, "sources": list(sources)}))
