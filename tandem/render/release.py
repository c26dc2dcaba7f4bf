"""The identity of a release: the digest of its rendered units plus its file hashes."""

import hashlib
import json

from tandem.config import Config
from tandem.domain.slots import FIRST_SLOT
from tandem.render.engine import render_engine
from tandem.render.tree import File


def release_digest(config: Config) -> str:
    """16 hex digits. The same release has the same digest in either slot."""
    units = {
        path: entry.content
        for path, entry in sorted(render_engine(config, FIRST_SLOT).entries.items())
        if isinstance(entry, File)
    }
    seen = json.dumps([units, config.wanted.model.files], sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()[:16]
