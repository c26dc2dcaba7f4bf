from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from tandem.config.base import Form, Model, Sha256


def _inside_the_model_folder(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is not a path inside the model's folder; give e.g. config.json or sub/file.json")
    return path


ModelFile = Annotated[
    str,
    Form(r"[A-Za-z0-9._/+@-]+", "a file of the model", "its path below the model's folder, e.g. config.json"),
    AfterValidator(_inside_the_model_folder),
]


RepositoryName = Annotated[
    str, Form(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+", "a repository", "OWNER/NAME, e.g. openai/gpt-oss-20b")
]


class ManifestFile(Model):
    """One file of a model."""

    bytes: int = Field(ge=0, description="Its size (bytes).")
    sha256: Sha256 = Field(description="Its SHA-256.")


class Manifest(Model):
    """A model pinned to the byte, and what its size follows from. Made by `python -m tandem.manifest`."""

    repository: RepositoryName = Field(description="Where the weights come from, e.g. openai/gpt-oss-20b.")
    revision: Annotated[str, Form(r"[0-9a-f]{40}", "a 40-digit revision", "40 lowercase hexadecimal digits")] = Field(
        description="The 40-digit revision; never a branch name."
    )
    files: dict[ModelFile, ManifestFile] = Field(
        min_length=1, description="Every file of the model with its size and SHA-256."
    )
    weight_bytes: int = Field(ge=1, description="The bytes of all tensors, as the safetensors index sums them.")
    config: dict[str, Any] = Field(min_length=1, description="The model's config.json: layers, heads, window.")

    @field_validator("files")
    @classmethod
    def _has_the_configuration(cls, files: dict[str, ManifestFile]) -> dict[str, ManifestFile]:
        if "config.json" not in files:
            raise ValueError("config.json is not among the files; give every file of the model")
        return files
