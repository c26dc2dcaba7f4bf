"""The journal's settings alone, as declared in the inventory."""

from pyinfra import host

from tandem import journal
from tandem.config import load
from tandem.domain.rollout import State
from tandem.operations import tree
from tandem.render.logs import render_logs
from tandem.render.updates import render_updates
from tandem.steps import logs
from tandem.steps.run import Run

journal.start("logs")
run = Run(host.name, load(host.data.dict(), host.name), State())
tree.apply(name="Settings", tree=render_logs(run.config) | render_updates(run.config), prune=())
logs.keep(run)
