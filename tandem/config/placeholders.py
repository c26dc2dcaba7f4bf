"""The example's stand-in values, which must be replaced before they can mean anything."""

import re
from collections.abc import Iterator
from typing import Any

from tandem.config.root import Config

_EXAMPLES = re.compile(
    r"registry\.example/.*|(.*@)?chat\.example|/dev/disk/by-id/nvme-EXAMPLE_.*|https://ca\.chat\.example/.*"
)
_ZEROS = re.compile(r"(.*@sha256:)?(0{40}|0{64})")


def placeholders(config: Config) -> list[str]:
    """One sentence per value of the wanted release, the WebUI or the edge that is still the example's."""
    wanted = f"releases/{config.release}"
    zeros = [*_zeros(wanted, config.wanted.model_dump()), *_zeros("webui", config.webui.model_dump())]
    names = {
        f"{wanted}/image": config.wanted.image,
        "webui/image": config.webui.image,
        "webui/admin_email": config.webui.admin_email,
        "edge/server_name": config.edge.server_name,
        **({"storage/device": config.storage.device} if config.storage else {}),
    }
    if config.edge.certificate.kind == "acme":
        names["edge/certificate/email"] = config.edge.certificate.email
        names["edge/certificate/directory"] = config.edge.certificate.directory
    examples = [path for path, name in names.items() if _EXAMPLES.fullmatch(name)]
    keys = [
        f"gpu/repositories/{place}/key"
        for place, repository in enumerate(config.gpu.repositories)
        if "EXAMPLE" in repository.key
    ]
    certificate = config.edge.certificate.model_dump()
    keys += [
        f"edge/certificate/{name}"
        for name in ("certificate", "authority")
        if "EXAMPLE" in (certificate.get(name) or "")
    ]
    keys += ["bundle/key"] if config.bundle and "EXAMPLE" in config.bundle.key else []
    # A manifest is made whole: one line for all that is in it.
    found = sorted({re.sub("(/model/manifest)/.*", r"\1", path) for path in (*zeros, *examples, *keys)})
    return [f"{path} is still the example's; group_data/prod.py says what to put there" for path in found]


def _zeros(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _zeros(f"{path}/{name}", inner)
    elif isinstance(value, str) and _ZEROS.fullmatch(value):
        yield path
