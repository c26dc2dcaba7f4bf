import os
from pathlib import Path

from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config.secrets import SecretSource
from tandem.operations import ctl
from tandem.steps.run import Run


@deploy("Secrets")
def ensure(run: Run) -> None:
    """Secrets that the operator gives, and generated ones for the rest."""
    given: dict[str, str] = {name: _value(name, source) for name, source in run.config.secrets.items()}
    journal.mask.update(given.values())
    edge = run.config.edge
    ctl.secrets(
        name="Secrets",
        basic_user=edge.basic_user,
        api_client=edge.api_client,
        names=[edge.server_name, *edge.alternative_names],
        given=given,
    )


def _value(name: str, source: SecretSource) -> str:
    where = f"environment variable {source.env}" if source.env else f"file {source.file}"
    try:
        value = os.environ[source.env] if source.env else Path(str(source.file)).expanduser().read_text().strip()
    except (KeyError, OSError):
        raise DeployError(f"secrets/{name}: the {where} can't be read; nothing was changed") from None
    if len(value) < 12 or not value.isprintable() or " " in value:
        raise DeployError(
            f"secrets/{name}: the {where} must hold at least 12 printable characters without spaces; "
            "nothing was changed"
        )
    return value
