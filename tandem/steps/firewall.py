from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem.domain.firewall import locks_out
from tandem.domain.units import Unit
from tandem.operations import firewall, units
from tandem.render.firewall import firewall_units, wanted_firewall
from tandem.steps.run import Run


@deploy("Firewall")
def apply(run: Run) -> None:
    """What may come in. Comes before the whole file tree: its files are written by the trial that proved them."""
    config = run.config
    reason = locks_out(host.data.dict()) if config.firewall.enabled else ""
    if reason:
        raise DeployError(f"{host.name}: {reason}")
    firewall.guard(
        name="Rules and SSH settings",
        wanted=wanted_firewall(config),
        confirm_seconds=config.firewall.confirm_seconds,
    )
    units.converge(name="Clock and firewall", wanted=[Unit("systemd-timesyncd.service"), *firewall_units(config)])
