"""The first step of install alone: what every later one stands on."""

from tandem.steps import host
from tandem.steps.run import begin

host.prepare(begin("packages"))
