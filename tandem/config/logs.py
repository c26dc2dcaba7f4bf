from pydantic import Field

from tandem.config.base import Model


class LogsConfig(Model):
    """The host's journal: the access log, and what engines and WebUI write. It lies on /, not with the weights."""

    retention_days: int = Field(default=30, ge=1, description="Lines that are older are removed.")
    maximum_mib: int = Field(default=2048, ge=64, description="The oldest lines are removed beyond this size (MiB).")
