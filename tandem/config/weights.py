from pydantic import Field

from tandem.config.base import AbsolutePath, Items, Model


class LocalSource(Model):
    """A folder on the host that holds the model's files."""

    path: AbsolutePath = Field(description="Folder with one sub-folder per revision: PATH/REVISION/config.json ...")


class WeightsConfig(Model):
    """Where model files are kept and where they come from."""

    directory: AbsolutePath = Field(
        default="/srv/weights", description="Where weights are kept (the NVMe mount when storage is set)."
    )
    sources: Items[LocalSource] = Field(min_length=1, description="Tried in this order for files that are missing.")
