"""Which secrets the host has and how old they are; run it with -y. `--data rotate=keys/ci` replaces that one.

No value is ever printed: `tandemctl credentials` on the host shows them.
"""

from tandem.steps import credentials
from tandem.steps.run import configuration

credentials.show(configuration("credentials"))
