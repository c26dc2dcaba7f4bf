"""A blank host -> a CUDA device in a container: the steps of install that have to do with the cards."""

from tandem.steps import gpu, host, runtime
from tandem.steps.run import begin

run = begin("gpu")
host.prepare(run)
gpu.driver(run)
runtime.images(run)
gpu.prove(run)
