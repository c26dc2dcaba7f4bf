"""The timer that renews what the gate's cookies are made from. Pure."""

from typing import Final

from tandem.config import Config
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree

NAME: Final = "tandem-gate-rotate"


def render_rotation(config: Config) -> Tree:
    return Tree(
        {
            f"/etc/systemd/system/{NAME}.{kind}": File(
                render_template(f"gate/{NAME}.{kind}.j2", days=config.edge.gate_days)
            )
            for kind in ("service", "timer")
        }
    )


def rotation_units(_: Config) -> list[Unit]:
    return [Unit(f"{NAME}.timer"), Unit(f"{NAME}.service", enable=False, run=False)]
