from collections.abc import Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem.domain.storage import Disk, judge
from tandem.domain.units import Unit
from tandem.operations import storage, units
from tandem.render.storage import TRIM_TIMER, mount_unit, weights_disk
from tandem.steps.run import Run


@deploy("Storage")
def mount(run: Run) -> None:
    """The weights disk, formatted when blank, mounted before anything is written to it, grown with its device."""
    if run.config.storage is None:
        return
    disk = weights_disk(run.name, run.config)
    seen = storage.look(disk)
    _check(disk, seen)
    storage.filesystem(name="Weights disk", disk=disk, seen=seen)
    trim = Unit(TRIM_TIMER.replace(".timer", ".service"), enable=False, run=False)
    units.converge(name="Weights mount", wanted=[Unit(mount_unit(disk.directory)), Unit(TRIM_TIMER), trim])
    storage.settle(
        name="Size and speed of the weights disk",
        disk=disk,
        seen=seen,
        advised_read_mib_per_second=run.config.storage.advised_read_mib_per_second,
    )


def _check(disk: Disk, seen: Mapping[str, Any]) -> None:
    """Refuses before any operation of the run; says what it would destroy, also where -y skips the plan."""
    verdict = judge(disk, seen)
    if verdict.refusal:
        raise DeployError(verdict.refusal)
    for what in verdict.destroys:
        logger.warning(f"[{host.name}] to be destroyed on {disk.device} (serial number {disk.erase}): {what}")
