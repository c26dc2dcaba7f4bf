from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from tandem.config.base import Form, Items, Model, Name, Text


class SecretSource(Model):
    """Where the operator's machine takes a secret from. A secret without a source is generated on the host."""

    env: (
        Annotated[str, Form(r"[A-Z][A-Z0-9_]*", "the name of an environment variable", "A-Z, 0-9 and _ only")] | None
    ) = Field(default=None, description="Name of an environment variable on the operator's machine.")
    file: Annotated[Text, StringConstraints(min_length=1)] | None = Field(
        default=None, description="Path of a file on the operator's machine."
    )
    command: Annotated[Items[Text], Field(min_length=1)] | None = Field(
        default=None, description="A command on the operator's machine, word by word, that prints the secret."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretSource":
        given = [name for name in ("env", "file", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"has {found}; give exactly one of env, file and command")
        return self


class SecretsConfig(Model):
    """Secrets that the operator chooses; all others are generated on the host."""

    passwords: dict[Name, SecretSource] = Field(
        default={}, description="Passwords of the browser's prompt, by user (edge/users)."
    )
    keys: dict[Name, SecretSource] = Field(default={}, description="API keys, by client (edge/clients).")
    webui_admin_password: SecretSource | None = Field(
        default=None, description="The password of the WebUI's first administrator."
    )
