from pydantic import Field, ValidationInfo, field_validator

from tandem.config.base import Items, Model, Name, ServerName


class EdgeConfig(Model):
    """The public front door."""

    server_name: ServerName = Field(description="The name or address that people type.")
    alternative_names: Items[ServerName] = Field(
        default=(), description="Further names or addresses in the certificate."
    )
    https_port: int = Field(default=443, ge=1, le=65535, description="The HTTPS port.")
    http_port: int = Field(default=80, ge=1, le=65535, description="The HTTP port; it only redirects.")
    basic_user: Name = Field(default="team", description="The user of the browser's password prompt.")
    api_client: Name = Field(default="default", description="The name of the one API client.")
    maximum_body_mib: int = Field(default=100, ge=1, description="The largest upload (MiB).")

    @field_validator("http_port")
    @classmethod
    def _ports_differ(cls, http_port: int, info: ValidationInfo) -> int:
        if http_port == info.data.get("https_port"):
            raise ValueError(f"{http_port} is the https_port as well; give two different ports")
        return http_port
