from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tandem.config.base import Form, Model, Text

SecretName = Literal["basic_password", "api_key", "webui_admin_password"]


class SecretSource(Model):
    """Where the operator's machine takes a secret from. A secret without a source is generated on the host."""

    env: (
        Annotated[str, Form(r"[A-Z][A-Z0-9_]*", "the name of an environment variable", "A-Z, 0-9 and _ only")] | None
    ) = Field(default=None, description="Name of an environment variable on the operator's machine.")
    file: Annotated[Text, StringConstraints(min_length=1)] | None = Field(
        default=None, description="Path of a file on the operator's machine."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretSource":
        if (self.env is None) == (self.file is None):
            raise ValueError("has both or neither of env and file; give exactly one of them")
        return self
