"""The drift guard: loaded module, installed library and holds, compared before the next container start finds out."""

from pathlib import Path

from tandem.domain.gpu import drift
from tandem.hostside.files import write_atomic
from tandem.hostside.gpu_state import observe

MISMATCH = Path("/run/tandem/driver-mismatch")


def check(managed: bool, report: Path = MISMATCH) -> list[str]:
    """What does not fit together, one sentence each; written to ``report``, which is removed when all fits.

    + managed: the driver's packages are Tandem's, so they have to be held
    """
    sentences = drift(observe(), managed)
    if sentences:
        report.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(report, "".join(f"{sentence}\n" for sentence in sentences))
    else:
        report.unlink(missing_ok=True)
    return sentences
