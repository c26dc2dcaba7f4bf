from pyinfra.api import deploy

from tandem.operations import logs, tree
from tandem.render.logs import JOURNAL, render_logs
from tandem.steps.run import Run


@deploy("Logs")
def keep(run: Run) -> None:
    """The journal's size and retention, in force before anything of ours writes to it."""
    tree.apply(name="Settings of the journal", tree=render_logs(run.config), prune=())
    logs.read_settings(name="Journal", path=JOURNAL)
