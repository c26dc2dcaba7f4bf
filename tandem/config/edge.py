from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tandem.config.base import Form, Items, Model, Name, ServerName
from tandem.config.secrets import SecretSource
from tandem.config.weights import Endpoint

Pem = Annotated[
    str,
    Form(
        r"-----BEGIN CERTIFICATE-----[\x20-\x7e\s]*-----END CERTIFICATE-----[\x20-\x7e\s]*",
        "a certificate",
        "the path of a file with -----BEGIN CERTIFICATE-----",
    ),
]
"""The inventory has the path of the file; its content is read before this is checked."""


class Limit(Model):
    """A leaky bucket: a steady rate and how many requests may come at once."""

    requests_per_second: int = Field(ge=1, description="The steady rate.")
    burst: int = Field(ge=0, description="How many requests may come at once on top of it.")


class Client(Model):
    """A program that uses the API with a key of its own, and its limits."""

    requests_per_second: int = Field(default=5, ge=1, description="The steady rate.")
    burst: int = Field(default=10, ge=0, description="How many requests may come at once on top of it.")
    streams: int = Field(default=16, ge=1, description="Answers in progress at the same time.")


class Generated(Model):
    """A certificate from an authority of the host's own, made there; browsers must be given that authority once."""

    kind: Literal["generated"] = Field(description="generated: by an authority of the host's own.")


class Files(Model):
    """A certificate that the operator has."""

    kind: Literal["files"] = Field(description="files: a certificate that you have.")
    certificate: Pem = Field(description="File on this machine: the certificate, then its intermediates (PEM).")
    key: SecretSource = Field(description="Where its private key is taken from (PEM, without a passphrase).")


class Acme(Model):
    """A certificate from an authority that speaks ACME, renewed by the host itself; port 80 must be reachable."""

    kind: Literal["acme"] = Field(description="acme: from Let's Encrypt or another ACME authority (HTTP-01).")
    email: Annotated[
        str, Form(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+", "an e-mail address", "NAME@DOMAIN, e.g. admin@chat.example")
    ] = Field(description="Where the authority writes to.")
    directory: Endpoint = Field(
        default="https://acme-v02.api.letsencrypt.org/directory", description="The authority's directory."
    )
    authority: Pem | None = Field(
        default=None,
        description="File on this machine: certificates (PEM) that the directory's own HTTPS is trusted by.",
    )


Certificate = Annotated[Generated | Files | Acme, Field(discriminator="kind")]


class EdgeConfig(Model):
    """The public front door."""

    server_name: ServerName = Field(description="The name or address that people type.")
    alternative_names: Items[ServerName] = Field(
        default=(), description="Further names or addresses in the certificate."
    )
    https_port: int = Field(default=443, ge=1, le=65535, description="The HTTPS port.")
    http_port: int = Field(default=80, ge=1, le=65535, description="The HTTP port; it only redirects.")
    certificate: Certificate = Field(
        default=Generated(kind="generated"), description="Where the certificate comes from."
    )
    hsts_seconds: int = Field(
        default=63072000, ge=0, description="For how long browsers insist on HTTPS (HSTS); 0: they are not told to."
    )
    users: Items[Name] = Field(
        default=("team",), min_length=1, description="Who the browser's password prompt lets in, each with a password."
    )
    gate_days: int = Field(
        default=7,
        ge=1,
        description="The cookie that stands for the password is renewed so often, and ends at twice it.",
    )
    clients: dict[Name, Client] = Field(
        default={"default": Client()}, description="Programs that use the API, by name, each with a key of its own."
    )
    page_limit: Limit = Field(
        default=Limit(requests_per_second=200, burst=2000),
        description="Requests for the page from one address: opening it takes about 200.",
    )
    password_limit: Limit = Field(
        default=Limit(requests_per_second=1, burst=10), description="Passwords tried from one address."
    )
    maximum_body_mib: int = Field(default=100, ge=1, description="The largest upload (MiB).")

    @field_validator("http_port")
    @classmethod
    def _ports_differ(cls, http_port: int, info: ValidationInfo) -> int:
        if http_port == info.data.get("https_port"):
            raise ValueError(f"{http_port} is the https_port as well; give two different ports")
        return http_port

    @field_validator("certificate")
    @classmethod
    def _acme_needs_port_80_and_names(cls, certificate: Certificate, info: ValidationInfo) -> Certificate:
        if certificate.kind == "acme" and info.data.get("http_port", 80) != 80:
            raise ValueError("an ACME authority asks on port 80; give http_port 80 or another kind")
        names = [info.data.get("server_name", ""), *info.data.get("alternative_names", ())]
        numbers = [name for name in names if ":" in name or name.replace(".", "").isdigit()]
        if certificate.kind == "acme" and numbers:
            raise ValueError(f"an ACME authority certifies names, not {numbers[0]}; take that out or give another kind")
        return certificate

    @field_validator("users")
    @classmethod
    def _named_once(cls, users: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({user for user in users if users.count(user) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice; give each user once")
        return users
