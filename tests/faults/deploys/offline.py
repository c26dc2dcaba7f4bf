"""The steps of install that need a source, from the offline bundle alone."""

from tandem.steps import bundle, host, runtime, weights
from tandem.steps.run import begin

run = bundle.check(begin("offline"))
host.prepare(run)
runtime.images(run)
weights.publish(run)
