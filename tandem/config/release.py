from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tandem.config.base import Form, Model, Name, PinnedImage, Text
from tandem.config.engine_options import check_argument, check_variable
from tandem.config.manifest import Manifest

Argument = Text | int | float | bool

ArgumentName = Annotated[
    str,
    Form(r"[a-z][a-z0-9-]*", "an option name", "the long name without the leading --, e.g. max-model-len"),
    AfterValidator(check_argument),
]
VariableName = Annotated[
    str,
    Form(r"[A-Z][A-Z0-9_]*", "a variable name", "A-Z, 0-9 and _, beginning with a letter"),
    AfterValidator(check_variable),
]


class ModelConfig(Model):
    """The model that a release serves, pinned to the byte."""

    name: Name = Field(description="The name clients ask for, e.g. gpt-oss-20b. The same in every release.")
    manifest: Manifest = Field(
        description="The model's manifest: its path on the machine that runs pyinfra, e.g. manifests/gpt-oss-20b.json."
    )

    @property
    def revision(self) -> str:
        return self.manifest.revision

    @property
    def files(self) -> dict[str, str]:
        """{file: SHA-256}"""
        return {name: file.sha256 for name, file in self.manifest.files.items()}


class Release(Model):
    """Everything that decides what answers. Immutable: change it by declaring another release."""

    image: PinnedImage = Field(description="The engine image by platform manifest digest.")
    model: ModelConfig = Field(description="The model, pinned to the byte.")
    arguments: dict[ArgumentName, Argument] = Field(
        default={}, description="Further `vllm serve` options, names without the leading --."
    )
    environment: dict[VariableName, Text] = Field(
        default={}, description="Further environment variables of the engine; never a secret."
    )
    cuda: Annotated[str, Form(r"1[0-9]\.[0-9]", "a CUDA version", "e.g. 13.0")] = Field(
        default="13.0", description="The CUDA version that the image was built with: it decides which driver is needed."
    )
    topology: Literal["replicas"] = Field(default="replicas", description="replicas: one engine per card.")
