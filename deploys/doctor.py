"""Can this host be provisioned? Prints a table (``--data json=true``: JSON) and changes nothing, so run it with -y."""

from tandem.steps import doctor
from tandem.steps.run import configuration

doctor.report(configuration("doctor"))  # exit status not 0 when a check fails
