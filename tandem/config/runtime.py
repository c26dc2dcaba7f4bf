from typing import Annotated, Literal

from pydantic import Field

from tandem.config.base import AbsolutePath, Form, Items, Model


class Registry(Model):
    """Pull from the registry that the image name says."""

    kind: Literal["registry"] = Field(description="registry: pull from the registry in the image's name.")
    insecure: bool = Field(default=False, description="Speak plain HTTP to it (a registry on your own network).")


class Mirror(Model):
    """Pull ``image name@digest`` from ``prefix`` instead of the registry in its name."""

    kind: Literal["mirror"] = Field(description="mirror: pull from prefix instead.")
    prefix: Annotated[
        str,
        Form(
            r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*",
            "a registry address",
            "HOST[:PORT][/PATH], no scheme",
        ),
    ] = Field(description="HOST[:PORT][/PATH] that replaces the registry's host.")
    insecure: bool = Field(default=False, description="Speak plain HTTP to it.")


class OciLayout(Model):
    """Load from an OCI layout folder on the host, made with digests preserved."""

    kind: Literal["oci-layout"] = Field(description="oci-layout: load from a folder on the host.")
    path: AbsolutePath = Field(description="The layout folder on the host (it holds index.json).")


ImageSource = Annotated[Registry | Mirror | OciLayout, Field(discriminator="kind")]


class RuntimeConfig(Model):
    """Podman: where images are kept and where they come from."""

    image_store: AbsolutePath = Field(
        default="/var/lib/containers/storage", description="Podman's image store; two engine images exceed 20 GB."
    )
    additional_image_stores: Items[AbsolutePath] = Field(
        default=(), description="Read-only image stores searched before any source."
    )
    image_sources: Items[ImageSource] = Field(
        default=(Registry(kind="registry"),), description="Tried in this order for an image that is not in a store."
    )
