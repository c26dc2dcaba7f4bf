from pyinfra.api import deploy

from tandem.domain.units import Unit
from tandem.operations import storage, units
from tandem.render.storage import mount_unit, weights_uuid
from tandem.steps.run import Run


@deploy("Storage")
def mount(run: Run) -> None:
    """The weights disk, formatted when blank, mounted before anything is written to it."""
    disk, directory = run.config.storage, run.config.weights.directory
    if disk is None:
        return
    storage.filesystem(
        name="Weights disk",
        device=disk.device,
        kind=disk.filesystem,
        label=disk.label,
        uuid=weights_uuid(run.name, run.config),
        directory=directory,
    )
    units.converge(name="Weights mount", wanted=[Unit(mount_unit(directory))])
