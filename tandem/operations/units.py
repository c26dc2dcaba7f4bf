"""systemd units, brought to the wanted state."""

from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import operation

from tandem import journal
from tandem.commands import systemctl, systemctl_or_log, tandemctl
from tandem.domain.slots import STATUS_PORT
from tandem.domain.units import Unit, compare
from tandem.facts.units import UnitStates
from tandem.operations.live import Commands


@operation()
def converge(wanted: Sequence[Unit]) -> Commands:
    """Enables, starts, restarts and reloads what has to be, from state alone; see ``tandem.domain.units``."""
    served = {
        unit.name: f"http://127.0.0.1:{STATUS_PORT[unit.name.removesuffix('.service')]}/config"
        for unit in wanted
        if unit.served is not None
    }
    seen = host.get_fact(UnitStates, question={"units": [unit.name for unit in wanted], "served": served})
    work = compare(wanted, seen)
    for sentence in work.kept:
        journal.remark(host, sentence)
    if not work.sentences:
        host.noop(f"all {len(wanted)} units run as wanted")
        return
    for loss in work.losses:
        logger.warning(f"[{host.name}] {loss}")
        journal.remark(host, loss)
    for sentence in work.sentences:
        journal.note(host, sentence)
    if work.daemon_reload:
        yield systemctl("daemon-reload")
    for verb, names in (
        ("enable", work.enable),
        ("restart", work.restart),
        ("start", work.start),
        ("reload", work.reload),
    ):
        if names:
            yield systemctl_or_log(verb, *names)
    # Nginx can accept a reload and keep what it had.
    expected = [
        f"{unit.name.removesuffix('.service')}={unit.served}"
        for unit in wanted
        if unit.served and unit.name in work.reload
    ]
    if expected:
        yield tandemctl("served", "--expect", *expected)
