from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import systemctl
from tandem.facts.logs import JournalTimes
from tandem.operations.live import Commands


@operation()
def read_settings(path: str) -> Commands:
    """Restarts the journal's service when it started before the settings at ``path`` were written.

    Services keep their streams over it: systemd holds these meanwhile.
    """
    seen = host.get_fact(JournalTimes, question=path)
    if seen["written"] is not None and seen["started"] is not None and seen["started"] > seen["written"]:
        host.noop("the journal runs with its settings")
        return
    journal.note(host, "restarted systemd-journald: it ran with other settings")
    yield systemctl("restart", "systemd-journald.service")
