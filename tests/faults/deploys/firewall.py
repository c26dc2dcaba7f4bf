"""The firewall step alone, as declared in the inventory; `finish` adds what the whole file tree has of it."""

from pyinfra import host

from tandem import journal
from tandem.config import load
from tandem.domain.rollout import State
from tandem.operations import tree
from tandem.render.firewall import render_firewall, render_firewall_units
from tandem.steps import firewall
from tandem.steps.run import Run

journal.start("firewall")
run = Run(host.name, load(host.data.dict(), host.name), State())
tree.apply(name="Files of the units", tree=render_firewall_units(run.config), prune=())
firewall.apply(run)
tree.apply(name="All files", tree=render_firewall(run.config))
