"""One image by the real operation; the inventory's host has it in ``image``, and its sources in ``image_sources``."""

from pyinfra import host

from tandem import journal
from tandem.operations import runtime

journal.start("images")
runtime.images(name="Image", wanted=[host.data.image], sources=host.data.image_sources)
