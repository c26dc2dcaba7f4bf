from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from tandem.config.base import Form, Model, Name, PinnedImage, Sha256, Text
from tandem.config.engine_options import check_argument, check_variable

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


def _inside_the_model_folder(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is not a path inside the model's folder; give e.g. config.json or sub/file.json")
    return path


ModelFile = Annotated[
    str,
    Form(r"[A-Za-z0-9._/+@-]+", "a file of the model", "its path below the model's folder, e.g. config.json"),
    AfterValidator(_inside_the_model_folder),
]


class ModelConfig(Model):
    """The model that a release serves, pinned to the byte."""

    name: Name = Field(description="The name clients ask for, e.g. gpt-oss-20b. The same in every release.")
    repository: Annotated[
        str,
        Form(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+", "a repository", "OWNER/NAME, e.g. openai/gpt-oss-20b"),
    ] = Field(description="Where the weights come from, e.g. openai/gpt-oss-20b.")
    revision: Annotated[str, Form(r"[0-9a-f]{40}", "a 40-digit revision", "40 lowercase hexadecimal digits")] = Field(
        description="The 40-digit revision; never a branch name."
    )
    files: dict[ModelFile, Sha256] = Field(min_length=1, description="Every file of the model with its SHA-256.")

    @field_validator("files")
    @classmethod
    def _has_the_configuration(cls, files: dict[str, str]) -> dict[str, str]:
        if "config.json" not in files:
            raise ValueError("config.json is not among the files; give every file of the model with its SHA-256")
        return files


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
    topology: Literal["replicas"] = Field(default="replicas", description="replicas: one engine per card.")
