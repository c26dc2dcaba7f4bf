"""Where the driver comes from, what keeps it where it is, and the units of the cards."""

import hashlib
from typing import Final

from tandem.config import Config
from tandem.domain.gpu_packages import DRIVER_GLOBS
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import Entry, File, Link, Tree

SYSTEMD: Final = "/etc/systemd/system"
CDI_UNIT: Final = "tandem-cdi.service"
CHECK: Final = "tandem-driver-check"
POWER_UNIT: Final = "tandem-power-limit.service"
PERSISTENCE_UNIT: Final = "nvidia-persistenced.service"


def render_gpu(config: Config) -> Tree:
    gpu = config.gpu
    managed = gpu.driver_source != "none"
    entries: dict[str, Entry] = {
        "/usr/local/bin/tandem-gpu": File(render_template("gpu/tandem-gpu.j2"), mode="0755"),
        "/etc/needrestart/conf.d/60-tandem.conf": File(render_template("gpu/needrestart.conf.j2")),
        f"{SYSTEMD}/{CHECK}.service": File(render_template("gpu/tandem-driver-check.service.j2", managed=managed)),
        f"{SYSTEMD}/{CHECK}.timer": File(render_template("gpu/tandem-driver-check.timer.j2")),
    }
    if managed:
        version = f"{gpu.driver_version}-*" if gpu.driver_version else f"{gpu.driver_branch}.*"
        entries |= {
            "/etc/apt/preferences.d/60-tandem-gpu": File(
                render_template("gpu/preferences.j2", globs=DRIVER_GLOBS, version=version)
            ),
            "/etc/apt/apt.conf.d/60-tandem": File(render_template("gpu/apt.conf.j2")),
            "/etc/modprobe.d/60-tandem-nouveau.conf": File(render_template("gpu/nouveau.conf.j2")),
            f"{SYSTEMD}/{PERSISTENCE_UNIT}.d/60-tandem.conf": File(render_template("gpu/persistence.conf.j2")),
        }
    if gpu.container_toolkit:
        cards = ",".join(str(card) for card in config.engine.cards)
        entries |= {
            f"{SYSTEMD}/{CDI_UNIT}": File(render_template("gpu/tandem-cdi.service.j2", cards=cards)),
            # They write the same file, in no order with anything.
            f"{SYSTEMD}/nvidia-cdi-refresh.service": Link("/dev/null"),
            f"{SYSTEMD}/nvidia-cdi-refresh.path": Link("/dev/null"),
        }
    return Tree(entries) | _repositories(config) | _power(config)


def _repositories(config: Config) -> Tree:
    """Each repository with its key, which signs nothing else. A bundle is the only source of a host that has one."""
    wanted = config.gpu.driver_source != "none" or config.gpu.container_toolkit
    entries: dict[str, Entry] = {}
    for repository in config.gpu.repositories if wanted and config.bundle is None else ():
        key = f"/etc/apt/keyrings/tandem-{repository.name}.asc"
        entries[key] = File(repository.key)
        entries[f"/etc/apt/sources.list.d/tandem-{repository.name}.sources"] = File(
            render_template("gpu/repository.sources.j2", repository=repository, key=key)
        )
    return Tree(entries)


def _power(config: Config) -> Tree:
    limits = sorted(config.gpu.power_limit_watts.items())
    if not limits:
        return Tree()
    return Tree({f"{SYSTEMD}/{POWER_UNIT}": File(render_template("gpu/tandem-power-limit.service.j2", limits=limits))})


def gpu_units(config: Config) -> list[Unit]:
    """What runs for the cards, in the order in which it is started. The CDI unit is never restarted: see its file."""
    units = []
    if config.gpu.driver_source != "none":
        units.append(Unit(PERSISTENCE_UNIT))
    if config.gpu.container_toolkit:
        units.append(Unit(CDI_UNIT))
    for entry in _power(config).entries.values():
        if isinstance(entry, File):
            units.append(Unit(POWER_UNIT, started=hashlib.sha256(entry.content.encode()).hexdigest()))
    return [*units, Unit(f"{CHECK}.timer")]
