"""The prober: its cases, its unit, and the folder of its samples. Pure."""

from typing import Final

from tandem.config.case_files import document
from tandem.config.comparison import ComparisonConfig
from tandem.domain.slots import UIDS
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import Directory, File, Tree

UNIT: Final = "tandem-prober"
CASES: Final = "/etc/tandem/cases.json"
SAMPLES: Final = "/var/lib/tandem/prober"
PROGRAM: Final = "/usr/local/bin/tandem-prober"


def render_prober(comparison: ComparisonConfig) -> Tree:
    uid = UIDS[UNIT]
    return Tree(
        {
            # The prompts in it are the operator's: only root reads them here, and systemd hands the prober a copy.
            CASES: File(document(comparison.cases), "0600"),
            SAMPLES: Directory("0700", uid, uid),
            PROGRAM: File(render_template("prober/tandem-prober.j2"), "0755"),
            f"/etc/systemd/system/{UNIT}.service": File(
                render_template("prober/tandem-prober.service.j2", user=UNIT, cases=CASES, samples=SAMPLES)
            ),
        }
    )


def prober_units() -> list[Unit]:
    """The guard starts it."""
    return [Unit(f"{UNIT}.service", enable=False, run=False)]
