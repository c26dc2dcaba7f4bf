"""What serves and how an upgrade goes; run it with -y. `--data json=true`: JSON; `--data report=true`: the comparison.

Needs no valid configuration, and changes nothing.
"""

from tandem.steps import status

status.show()
