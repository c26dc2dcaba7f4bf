"""Unit files that record what they were started with."""

import hashlib
from typing import Final

PLACEHOLDER: Final = "@STARTED_DIGEST@"


def with_started_digest(unit_text: str, *inputs: str) -> str:
    """``unit_text`` with ``@STARTED_DIGEST@`` replaced by 16 hex digits over the text and ``inputs``.

    ``inputs`` is whatever else needs a restart when it changes. The unit writes the digest to /run/tandem/started/UNIT
    when it starts, so that "needs a restart" is read from the host's state.
    """
    digest = hashlib.sha256("\0".join((unit_text, *inputs)).encode()).hexdigest()[:16]
    return unit_text.replace(PLACEHOLDER, digest)
