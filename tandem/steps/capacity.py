from collections.abc import Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config import Config
from tandem.domain import capacity
from tandem.domain.cards import memory_mib


def plan(config: Config, found: Mapping[str, Any]) -> None:
    """Says what the wanted release needs of the cards and gives, or refuses it with the numbers.

    ``found`` is what doctor saw. Raises DeployError; nothing has been changed then.
    """
    sizes = memory_mib(found["bus"], found["smi"]["cards"], config.engine.cards)
    if not sizes:
        journal.remark(host, "capacity was not computed: these cards do not tell their memory without a driver")
        return
    release, model = config.wanted, config.wanted.model.manifest
    shown = [release.topology, *(one for one in capacity.TOPOLOGIES if one != release.topology and len(sizes) > 1)]
    try:
        assessed = [
            capacity.assess(model.config, model.weight_bytes, release.arguments, sizes, topology) for topology in shown
        ]
    except ValueError as error:
        raise DeployError(f"releases/{config.release}: {error}") from None
    if assessed[0].refusal:
        raise DeployError(f"releases/{config.release}: {assessed[0].refusal}")
    for line in capacity.table(config.release, *assessed):
        logger.info(f"[{host.name}] {line}")
