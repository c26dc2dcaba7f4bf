from typing import Annotated

from pydantic import Field, field_validator

from tandem.config.base import Items, Model

Card = Annotated[int, Field(ge=0, le=15)]
"""A card by its index in nvidia-smi."""


class EngineConfig(Model):
    """How the engines of a slot are run."""

    cards: Items[Card] = Field(
        default=(0, 1), min_length=1, description="Card indexes as in nvidia-smi; one engine runs on each."
    )
    ready_timeout_seconds: int = Field(
        default=900, ge=10, description="Give up on an engine that has not completed a request by then."
    )
    shutdown_timeout_seconds: int = Field(
        default=300, ge=0, description="How long running requests may finish when an engine stops."
    )
    shared_memory_mib: int = Field(default=1024, ge=64, description="Size of /dev/shm in the container (MiB).")

    @field_validator("cards")
    @classmethod
    def _each_once(cls, cards: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({card for card in cards if cards.count(card) > 1})
        if twice:
            raise ValueError(f"card {', '.join(map(str, twice))} is named twice; give each card once")
        return cards
