"""Jinja templates under templates/: one per rendered file, under the noun it belongs to."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

_environment = Environment(  # noqa: S701 - configuration files, not HTML
    loader=FileSystemLoader(TEMPLATES),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_template(template: str, **variables: Any) -> str:
    """The text of ``templates/<template>``. An undefined variable is an error."""
    return _environment.get_template(template).render(**variables)
