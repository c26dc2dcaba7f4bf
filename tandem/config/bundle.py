from pydantic import Field

from tandem.config.base import AbsolutePath, Model
from tandem.config.gpu import PublicKey


class BundleConfig(Model):
    """A folder on the host, made by `make bundle`: packages, images and weights. Nothing else is asked then."""

    path: AbsolutePath = Field(description="The bundle's folder on the host, e.g. a mounted disk.")
    key: PublicKey = Field(description="File with the key that signs its packages, on the machine that runs pyinfra.")
