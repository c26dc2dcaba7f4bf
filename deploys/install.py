"""Bare OS -> served chat. Never changes what answers: on a host that serves another release it says that one is due."""

from tandem.steps import (
    bundle,
    certificate,
    firewall,
    gpu,
    host,
    logs,
    prompts,
    runtime,
    secrets,
    services,
    storage,
    webui,
    weights,
)
from tandem.steps.run import begin

run = bundle.check(begin("install"))  # configuration, doctor, capacity: refuses before anything is touched
host.prepare(run)
logs.keep(run)
firewall.apply(run)
gpu.driver(run)
storage.mount(run)
runtime.images(run)
gpu.prove(run)
weights.publish(run)
secrets.ensure(run)
webui.open_again(run)
services.start(run)
services.route(run)
prompts.offer(run)
certificate.obtain(run)  # last: it may have to wait for an authority
