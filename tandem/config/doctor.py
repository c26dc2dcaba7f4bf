from pydantic import Field

from tandem.config.base import Model


class DoctorConfig(Model):
    """Thresholds of the checks: what is a warning, what is a refusal. What a host must have stands in ``host``."""

    advised_memory_gib: int = Field(default=64, ge=1, description="Warn below this memory (GiB).")
    advised_processors: int = Field(default=8, ge=1, description="Warn below this number of processors.")
    minimum_card_memory_mib: int = Field(default=22000, ge=1, description="Refuse a card with less memory (MiB).")
    maximum_foreign_card_memory_mib: int = Field(
        default=1024, ge=0, description="Refuse when others (a display server) hold more of a card than this (MiB)."
    )
    advised_link_generation: int = Field(default=4, ge=1, le=7, description="Warn of a slower PCI Express generation.")
    advised_link_width: int = Field(default=8, ge=1, le=16, description="Warn of fewer PCI Express lanes.")
    maximum_disk_wear_percent: int = Field(default=90, ge=1, le=255, description="Warn of an NVMe disk worn more.")
    network_timeout_seconds: int = Field(default=10, ge=1, description="Give up on a silent source or mirror.")
