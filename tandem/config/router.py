from pydantic import Field

from tandem.config.base import Model


class RouterConfig(Model):
    """The loopback-only split between slots."""

    longest_stream_seconds: int = Field(
        default=3600, ge=60, description="The longest stream allowed; old workers live this long after a reload."
    )
