"""The rehearsal hosts that `make rehearse` booted. Their addresses, digests and revisions are read from .rehearsal/."""

from tandem.rehearsal.inventory import hosts

rehearsal = hosts()
