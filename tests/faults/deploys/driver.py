"""A blank host -> a loaded driver and its CDI specification; no container is started."""

from tandem.steps import gpu, host
from tandem.steps.run import begin

run = begin("driver")
host.prepare(run)
gpu.driver(run)
