from typing import Annotated, Literal

from pydantic import Field

from tandem.config.base import AbsolutePath, Form, Model

FilesystemUuid = Annotated[
    str,
    Form(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "a filesystem UUID",
        "36 characters as printed by: blkid -o value -s UUID DEVICE",
    ),
]


class StorageConfig(Model):
    """The disk that holds the weights, mounted at ``weights.directory``."""

    device: AbsolutePath = Field(
        description="The disk, e.g. /dev/disk/by-id/nvme-... or /dev/nvme1n1. Formatted only when blank."
    )
    filesystem: Literal["ext4", "xfs"] = Field(default="ext4", description="The filesystem made on a blank disk.")
    # xfs takes labels of at most 12 characters, ext4 of 16.
    label: Annotated[str, Form(r"[a-z0-9-]{1,12}", "a filesystem label", "1 to 12 of a-z, 0-9 and -")] = Field(
        default="weights", description="The filesystem's label."
    )
    uuid: FilesystemUuid | None = Field(
        default=None,
        description="UUID of a filesystem that is there already and shall be used; leave out to let Tandem choose.",
    )
    erase: (
        Annotated[str, Form(r"[A-Za-z0-9._-]+", "a serial number", "as printed by: lsblk -dno SERIAL DEVICE")] | None
    ) = Field(default=None, description="Serial number of the disk whose whole content may be destroyed, once.")
    advised_read_mib_per_second: int = Field(
        default=1000, ge=1, description="Warn of a weights disk that reads slower than this (MiB/s)."
    )
