"""The storage step alone, as declared in the inventory."""

from pyinfra import host

from tandem import journal
from tandem.config import load
from tandem.domain.rollout import State
from tandem.operations import tree
from tandem.render.storage import render_storage
from tandem.steps import storage
from tandem.steps.run import Run

journal.start("storage")
run = Run(host.name, load(host.data.dict(), host.name), State())
tree.apply(name="Units", tree=render_storage(run.name, run.config), prune=())
storage.mount(run)
