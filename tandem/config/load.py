"""host.data -> ``Config``, or one report of everything that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tandem.config.errors import ConfigError, sentences
from tandem.config.inlined import inlined
from tandem.config.root import Config


def _is_pyinfras(name: str) -> bool:
    """pyinfra keeps its connection (``ssh_...``) and global arguments (``_sudo``) in host.data as well."""
    return name.startswith(("_", "ssh_"))


def _validate(values: Mapping[str, object], declared: list[str]) -> Config | list[ErrorDetails]:
    try:
        return Config.model_validate(dict(values), context=declared)
    except ValidationError as failure:
        return failure.errors(include_url=False)


def load(data: Mapping[str, object], host: str) -> Config:
    """The configuration in ``data`` (pyinfra's ``host.data.dict()``) of ``host`` (its name, for the report).

    Raises ConfigError with all errors at once. No value under ``secrets`` is ever repeated in it.
    """
    values = {name: value for name, value in data.items() if not _is_pyinfras(str(name))}
    # `--data release=...` arrives even when no group data was found.
    if not (values.keys() & Config.model_fields.keys()) - {"release"}:
        raise ConfigError(
            f"no group data found: run pyinfra from the folder that holds group_data/ (now: {Path.cwd()}), "
            f"where inventories/NAME.py goes with group_data/NAME.py; nothing was changed on {host}"
        )
    values = inlined(values, host)
    releases = values.get("releases")
    declared = [name for name in releases if isinstance(name, str)] if isinstance(releases, Mapping) else []
    result = _validate(values, declared)
    if isinstance(result, Config):
        return result
    # Raised outside the except clause: pydantic's own error, which holds the input, is not chained to it.
    lines = sentences(result, declared)
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    raise ConfigError(
        "\n".join(
            [
                f"the configuration of {host} has {count}:",
                *(f"  {line}" for line in lines),
                f"group_data/prod.py explains every option; nothing was changed on {host}",
            ]
        )
    )
