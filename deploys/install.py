"""Bare OS -> served chat. Never changes what answers: on a host that serves another release, `upgrade` does that."""

from tandem.steps import host, runtime, secrets, services, storage, weights
from tandem.steps.run import begin

run = begin("install")  # configuration and doctor: refuses before anything is touched
host.prepare(run)
storage.mount(run)
runtime.images(run)
weights.publish(run)
secrets.ensure(run)
services.start(run)
services.route(run)
