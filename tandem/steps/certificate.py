from pyinfra.api import deploy

from tandem.operations import certificate
from tandem.render.certificate import wanted_record
from tandem.steps.run import Run


@deploy("Certificate")
def obtain(run: Run) -> None:
    """The certificate of an ACME authority, which asks the edge for it: after the edge serves."""
    if run.config.edge.certificate.kind == "acme":
        certificate.obtain(name="Certificate from its authority", wanted=wanted_record(run.config))
