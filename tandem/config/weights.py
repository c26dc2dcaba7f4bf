from typing import Annotated, Literal

from pydantic import Field

from tandem.config.base import AbsolutePath, Form, Items, Model
from tandem.config.manifest import RepositoryName

Endpoint = Annotated[
    str, Form(r"https?://[\x21-\x7e]+[^/]", "an address", "https://HOST[:PORT][/PATH] without a slash at the end")
]


class FolderSource(Model):
    """A folder on the host that holds the model's files."""

    kind: Literal["folder"] = Field(description="folder: copy from a folder on the host.")
    path: AbsolutePath = Field(description="Folder with one sub-folder per revision: PATH/REVISION/config.json ...")


class ArchiveSource(Model):
    """A tar archive on the host that holds the model's files."""

    kind: Literal["archive"] = Field(description="archive: unpack from a tar archive on the host (plain, gzip or xz).")
    path: AbsolutePath = Field(description="The archive; files stand at its top or in one folder.")


class HttpSource(Model):
    """A plain web server that holds the model's files."""

    kind: Literal["http"] = Field(description="http: download from a plain web server.")
    url: Endpoint = Field(description="Folder with one sub-folder per revision: URL/REVISION/config.json ...")


class HuggingFaceSource(Model):
    """The Hugging Face hub or a mirror that speaks its API."""

    kind: Literal["huggingface"] = Field(description="huggingface: download from the Hugging Face hub or a mirror.")
    endpoint: Endpoint = Field(default="https://huggingface.co", description="The hub, or a mirror of it.")


class ModelScopeSource(Model):
    """The ModelScope hub."""

    kind: Literal["modelscope"] = Field(description="modelscope: download from ModelScope.")
    endpoint: Endpoint = Field(default="https://www.modelscope.cn", description="The hub, or a mirror of it.")
    repository: RepositoryName | None = Field(
        default=None, description="The model's name there when it is another, e.g. openai-mirror/gpt-oss-20b."
    )


WeightsSource = Annotated[
    FolderSource | ArchiveSource | HttpSource | HuggingFaceSource | ModelScopeSource, Field(discriminator="kind")
]


class WeightsConfig(Model):
    """Where model files are kept and where they come from."""

    directory: AbsolutePath = Field(
        default="/srv/weights", description="Where weights are kept (the NVMe mount when storage is set)."
    )
    sources: Items[WeightsSource] = Field(min_length=1, description="Tried in this order for files that are missing.")
    parallel_downloads: int = Field(default=4, ge=1, le=16, description="Files downloaded at the same time.")
    stall_timeout_seconds: int = Field(
        default=60, ge=1, description="Give up on a source that sends nothing for so long; the next try resumes."
    )
    remove_unused: bool = Field(
        default=False,
        description="Remove models that no declared release uses; never one that serves or is kept for rollback.",
    )
