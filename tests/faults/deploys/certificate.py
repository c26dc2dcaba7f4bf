"""The front door alone, with its certificate: what an ACME authority meets. Nothing answers behind it."""

from tandem.operations import tree, units
from tandem.render import front_units
from tandem.render.certificate import certificate_units, render_certificate
from tandem.render.edge import render_edge
from tandem.render.gate import render_gate
from tandem.render.router import render_router
from tandem.steps import certificate, host, secrets
from tandem.steps.run import begin

run = begin("certificate")
config = run.config
host.prepare(run)
secrets.ensure(run)
front = render_router(config) | render_gate(config) | render_edge(config) | render_certificate(config)
tree.apply(name="Files of the front door", tree=front, prune=())
units.converge(name="Front door", wanted=[*front_units(config), *certificate_units(config)])
certificate.obtain(run)
