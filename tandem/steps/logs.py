from pyinfra.api import deploy

from tandem.operations import logs
from tandem.render.logs import JOURNAL
from tandem.steps.run import Run


@deploy("Logs")
def keep(run: Run) -> None:
    """The journal's size and retention, in force before anything of ours writes to it."""
    logs.read_settings(name="Journal", path=JOURNAL)
