"""What an upgrade leaves behind: listed, and removed when the operator says so."""

import json
from collections.abc import Sequence
from typing import Any, Final

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem.config import Config
from tandem.domain.cleanup import CONSENT, Item, allowed
from tandem.domain.weights import size
from tandem.facts.cleanup import Unneeded
from tandem.operations import cleanup

REMOVE: Final = "remove"
"""``--data remove=true`` removes what needs no consent; ``remove=model`` and ``remove=webui`` (both: with a comma) also
models that no kept release serves, and the data of the WebUI that does not answer.
"""


def offer(config: Config) -> None:
    """Prints what may go; with ``--data remove=...`` removes it. Raises DeployError during a rollout."""
    question, consent = _question(config), _consent(config)
    seen = host.get_fact(Unneeded, _stdin=json.dumps(question))
    if not seen or seen["refused"]:
        raise DeployError(f"{host.name}: {seen.get('refused') or cleanup.NOT_INSTALLED}")
    items = [Item(**item) for item in seen["items"]]
    print(table(host.name, items, config.weights.remove_unused, seen["unknown"]), flush=True)
    if consent is not None:
        cleanup.remove(name="Remove what is not needed", question=question, consent=consent)


def table(name: str, items: Sequence[Item], models: bool, unknown: Sequence[str]) -> str:
    """What may go, and the words that remove it. ``models``: weights.remove_unused is set."""
    lines = ["", f"What no kept release of {name} uses:"]
    lines += [f"  {item.kind:<8}  {size(item.bytes):>10}  {item.name[:64]}  ({item.why})" for item in items]
    if not items:
        lines.append("  nothing")
    if unknown:
        lines.append(
            f"Images and models are all kept: what release {', '.join(unknown)} needs is not on record; run install."
        )
    freely = allowed(items, ["model"] if models else [])
    if freely:
        lines.append(f"--data {REMOVE}=true frees at most {size(sum(item.bytes for item in freely))}.")
    for kind, what in (("model", "also models"), ("webui", "also the chats that nobody sees any more")):
        some = [item for item in items if item.kind == kind and item not in freely]
        if some:
            lines.append(f"--data {REMOVE}={kind} removes {what} ({size(sum(item.bytes for item in some))}).")
    return "\n".join(lines)


def _question(config: Config) -> dict[str, Any]:
    releases = config.releases.values()
    return {
        "directory": config.weights.directory,
        "temporary": f"{config.runtime.image_store}/tmp",  # noqa: S108
        "images": sorted({release.image for release in releases}),
        "revisions": sorted({release.model.revision for release in releases}),
        "webui": config.webui.image,
    }


def _consent(config: Config) -> list[str] | None:
    """The kinds that were named; None: only a list is wanted. Raises DeployError for what is no kind."""
    said = host.data.get(REMOVE, False)
    if said is False:
        return None
    named = [] if said is True else str(said).split(",")
    unknown = sorted({*named} - {*CONSENT})
    if unknown:
        raise DeployError(
            f"--data {REMOVE}={said}: {unknown[0]!r} is none of true, {', '.join(CONSENT)}; nothing was removed"
        )
    return sorted({*named, *(["model"] if config.weights.remove_unused else [])})
