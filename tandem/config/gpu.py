from typing import Annotated, Literal

from pydantic import Field, model_validator

from tandem.config.base import Form, Items, Model, Name, Text
from tandem.config.engine import Card

PublicKey = Annotated[
    str,
    Form(
        r"-----BEGIN PGP PUBLIC KEY BLOCK-----[\x20-\x7e\s]*-----END PGP PUBLIC KEY BLOCK-----\s*",
        "an ASCII-armoured public key",
        "the path of a file that begins with -----BEGIN PGP PUBLIC KEY BLOCK-----",
    ),
]
"""A signing key. The inventory names a file on the operator's machine; ``load`` puts its text here."""


class Repository(Model):
    """One signed apt repository."""

    name: Name = Field(description="A short name; the file below /etc/apt/sources.list.d gets it.")
    url: Annotated[
        str, Form(r"(https?://|file:/)[\x21-\x7e]+", "a repository's address", "https://..., http://... or file:/...")
    ] = Field(description="Where it is: NVIDIA's own address or a mirror.")
    suite: Text = Field(default="/", description="The suite; / for a flat repository, as NVIDIA's are.")
    components: Items[Name] = Field(default=(), description="The components; none for a flat repository.")
    key: PublicKey = Field(description="File with the key that signs it, on the machine that runs pyinfra.")


class GpuConfig(Model):
    """Driver, CUDA and how containers reach the cards."""

    driver_source: Literal["nvidia", "distro", "none"] = Field(
        description="nvidia: NVIDIA's packages from `repositories`; distro: the operating system's own; "
        "none: the driver is there already and is never touched."
    )
    driver_branch: Annotated[str, Form(r"[1-9][0-9]{2}", "a driver branch", "three digits, e.g. 580")] = Field(
        default="580", description="Never leave this branch (580 is supported until June 2028)."
    )
    driver_version: (
        Annotated[
            str, Form(r"[1-9][0-9]{2}(\.[0-9]+){1,2}", "a driver version", "the upstream version, e.g. 580.159.04")
        ]
        | None
    ) = Field(default=None, description="Exactly this version of the branch; leave out for the newest one at install.")
    repositories: Items[Repository] = Field(default=(), description="Signed apt repositories with NVIDIA's packages.")
    container_toolkit: bool = Field(
        default=True,
        description="Install NVIDIA's container toolkit and keep the CDI specification; False: it is there already.",
    )
    cuda_toolkit: bool = Field(
        default=False, description="Install the CUDA toolkit of the driver's branch; serving does not need it."
    )
    power_limit_watts: dict[Card, Annotated[int, Field(ge=50, le=1000)]] = Field(
        default={}, description="Power limit by card (watts); cards not named keep their own."
    )
    allow_reboot: bool = Field(
        default=False, description="Reboot the host once when a new driver needs it and nothing serves yet."
    )
    allow_outage: bool = Field(
        default=False,
        description="On a host that serves: drain, change the driver, reboot. Nothing is served meanwhile.",
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "GpuConfig":
        if self.driver_version and self.driver_version.split(".")[0] != self.driver_branch:
            raise ValueError(
                f"driver_version {self.driver_version} is not of driver_branch {self.driver_branch}; make them agree"
            )
        if self.driver_source == "nvidia" and not self.repositories:
            raise ValueError("driver_source is 'nvidia' and repositories is empty; name NVIDIA's or a mirror")
        return self
