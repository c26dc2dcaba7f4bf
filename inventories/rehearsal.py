"""The rehearsal hosts that `make rehearse` booted. Their addresses, digests and revisions are read from .rehearsal/."""

from tandem.connection import watch
from tandem.rehearsal.inventory import hosts

watch()
rehearsal = hosts()
