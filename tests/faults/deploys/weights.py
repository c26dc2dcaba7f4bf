"""The weights step alone, as declared in the inventory."""

from pyinfra import host

from tandem import journal
from tandem.config import load
from tandem.domain.rollout import State
from tandem.steps import weights
from tandem.steps.run import Run

journal.start("weights")
weights.publish(Run(host.name, load(host.data.dict(), host.name), State()))
