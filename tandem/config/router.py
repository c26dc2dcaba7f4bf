from pydantic import Field

from tandem.config.base import Model
from tandem.config.edge import Limit


class RouterConfig(Model):
    """The loopback-only split between slots."""

    longest_stream_seconds: int = Field(
        default=3600, ge=60, description="The longest stream allowed; old workers live this long after a reload."
    )
    user_limit: Limit = Field(
        default=Limit(requests_per_second=5, burst=10),
        description="Requests to the engines by one person in the WebUI.",
    )
    user_streams: int = Field(default=8, ge=1, description="Answers in progress at the same time for one person.")
