from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tandem.config.base import Items, Model
from tandem.config.comparison import ComparisonConfig

Weight = Annotated[int, Field(ge=1, le=100)]
"""A share of the requests in percent."""


class UpgradeConfig(Model):
    """How a new release takes the place of the old one. Changes of it do not reach a rollout that has begun."""

    weights: Items[Weight] = Field(
        default=(10, 30, 50, 70, 90, 100),
        min_length=1,
        description="The new release's shares of the requests in percent, growing to 100.",
    )
    window_seconds: int = Field(default=86400, ge=1, description="How long each share is watched before the next.")
    soak_seconds: int = Field(
        default=259200, ge=1, description="How long the old release is kept able to serve at 100 %."
    )
    most_extensions: int = Field(
        default=3,
        ge=0,
        le=100,
        description="A window without a verdict is made longer so often; then people are asked.",
    )
    convert_at: Literal["soak_end", "full"] = Field(
        default="soak_end",
        description="soak_end: the old release keeps its cards until the soak ends; full: it gives them up at 100 %.",
    )
    allow_gap: bool = Field(
        default=False, description="Go on where nothing can be served while one release replaces the other."
    )
    comparison: ComparisonConfig = Field(
        default=ComparisonConfig(), description="How the new release is compared with the old one."
    )

    @field_validator("weights")
    @classmethod
    def _grow_to_all(cls, weights: tuple[int, ...]) -> tuple[int, ...]:
        shown = ", ".join(map(str, weights))
        if list(weights) != sorted(set(weights)):
            raise ValueError(f"{shown} do not grow; give each share once, the smallest first")
        if weights[-1] != 100:
            raise ValueError(f"{shown} do not end with 100; the last share is all requests")
        return weights

    @model_validator(mode="after")
    def _ends_before_it_is_held(self) -> "UpgradeConfig":
        """What is compared unexposed has no window of its own, only the extensions."""
        asked, patience = self.comparison, self.most_extensions * self.window_seconds
        least = max(asked.requests, asked.pairs) * asked.pair_seconds
        if least > patience:
            raise ValueError(
                f"a comparison takes at least {least:.0f} s (requests, pairs, pair_seconds) and would be held after "
                f"{patience} s (most_extensions times window_seconds); make those longer, or pair_seconds shorter"
            )
        return self
