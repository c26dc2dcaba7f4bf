"""Brings users, chats and secrets back: ``--data from=FILE --data identity=FILE``; run it with -y.

``--data replace=true`` consents to put aside what people have left on the host since. ``--data scratch=true`` only
tries the backup there, in a scratch Open WebUI without a network.
"""

from tandem.steps import backup
from tandem.steps.run import configuration

backup.restore(configuration("restore"))
