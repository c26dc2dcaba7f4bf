from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tandem.config.base import Items, Model, Text
from tandem.config.secrets import SecretSource


class NotifyConfig(Model):
    """Who is told of what people should know: a rollout held, undone or finished, and what goes wrong meanwhile."""

    command: Annotated[Items[Text], Field(min_length=1)] | None = Field(
        default=None,
        description="A program and its arguments, run on the host as root in the guard's sandbox; it reads one JSON "
        "object from standard input and has 30 seconds.",
    )
    url: SecretSource | None = Field(
        default=None, description="Where the address (https or http) is taken from that the JSON object is posted to."
    )

    @field_validator("command")
    @classmethod
    def _found_anywhere(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command and not command[0].startswith("/"):
            raise ValueError(
                f"{command[0]!r} is not an absolute path; give the program's path on the host, e.g. /usr/.."
            )
        return command

    @model_validator(mode="after")
    def _exactly_one(self) -> "NotifyConfig":
        given = [name for name in ("command", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"has {' and '.join(given) or 'none of them'}; give exactly one of command and url")
        return self
