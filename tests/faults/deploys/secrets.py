"""Secrets, the gate that reads them and the timer that renews its own, as declared in the inventory."""

from pyinfra import host

from tandem import journal
from tandem.config import load
from tandem.domain.rollout import State
from tandem.domain.units import Unit
from tandem.operations import tree, units
from tandem.render.certificate import render_certificate
from tandem.render.gate import UNIT, render_gate, served_gate
from tandem.render.host import render_secrets
from tandem.render.rotation import render_rotation, rotation_units
from tandem.steps import host as base
from tandem.steps import secrets
from tandem.steps.run import Run

journal.start("secrets")
run = Run(host.name, load(host.data.dict(), host.name), State())
base.prepare(run)
secrets.ensure(run)
files = render_secrets(run.config) | render_certificate(run.config) | render_gate(run.config)
tree.apply(name="Files of the gate", tree=files | render_rotation(run.config), prune=())
gate = Unit(f"{UNIT}.service", served=served_gate(run.config)[UNIT])
units.converge(name="Gate and its timer", wanted=[gate, *rotation_units(run.config)])
