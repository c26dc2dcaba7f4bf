from typing import Annotated

from pydantic import Field

from tandem.config.base import AbsolutePath, Form, Items, Model, Text

Recipient = Annotated[
    str, Form(r"age1[02-9ac-hj-np-z]{58}", "a public key of age", "what `age-keygen` prints as Public key: age1...")
]
"""The public half: it encrypts, and nobody can decrypt with it."""


class Keep(Model):
    """How many backups stay on the host: the newest of each of so many days, weeks and months."""

    daily: int = Field(default=7, ge=1, description="The newest one of each of so many days.")
    weekly: int = Field(default=4, ge=0, description="The newest one of each of so many weeks.")
    monthly: int = Field(default=6, ge=0, description="The newest one of each of so many months.")


class Target(Model):
    """Where the host itself copies each backup to."""

    command: Annotated[Items[Text], Field(min_length=1)] = Field(
        description="A program and its arguments, run on the host as root; {file} is the backup's path."
    )


class BackupConfig(Model):
    """Backups: users and chats, secrets, what is rendered, and the record of what serves; encrypted on the host."""

    recipients: Annotated[Items[Recipient], Field(min_length=1)] = Field(
        description="Public keys (age) that backups are encrypted to; any one of their private keys opens them."
    )
    directory: AbsolutePath = Field(default="/var/backups/tandem", description="Where they are kept on the host.")
    keep: Keep = Field(default=Keep(), description="How many are kept there.")
    target: Target | None = Field(default=None, description="Where each is copied to; None: nowhere.")
    hour: int = Field(default=3, ge=0, le=23, description="The hour of the daily backup, by the host's clock.")
    verify: bool = Field(default=True, description="Start Open WebUI on what was saved, without a network, each time.")
    warn_after_hours: int = Field(default=24, ge=1, description="Warn when the last backup is older.")
