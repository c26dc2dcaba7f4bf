"""How a new release is compared with the old one, and with which cases."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from tandem.config.base import Items, Model
from tandem.config.cases import Case
from tandem.domain.cases import compiled

LARGEST_BYTES: Final = 900_000
"""Of all cases together: they reach the prober as a credential, and systemd hands over 1 MiB for each unit at most."""


@dataclass(frozen=True)
class Unusable:
    """Stands where a case would stand that can't be used. ``why``: the whole sentence, with file and line."""

    why: str


def _usable(value: Any) -> Any:
    if isinstance(value, Unusable):
        raise ValueError(value.why)
    return value


def _not_too_large(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    size = len(compiled([case.record() for case in cases]).encode())
    if size > LARGEST_BYTES:
        raise ValueError(
            f"the cases have {size} bytes, {LARGEST_BYTES} is the most; leave some out, or give long texts as haystack"
        )
    return cases


class LimitsConfig(Model):
    """What an answer of the new release may typically take (seconds)."""

    first_token_seconds: float = Field(default=5.0, gt=0, description="Until its first token.")
    total_seconds: float = Field(default=60.0, gt=0, description="Until its end.")
    token_gap_seconds: float = Field(default=0.25, gt=0, description="From one token to the next.")


class ComparisonConfig(Model):
    """How the new release is compared with the old one."""

    cases: Annotated[Items[Annotated[Case, BeforeValidator(_usable)]], AfterValidator(_not_too_large)] = Field(
        default=(), description="Files of cases, and folders with such files, on the machine that runs pyinfra."
    )
    pair_seconds: float = Field(default=10.0, gt=0, description="A pair of probes at most so often.")
    requests: int = Field(default=65, ge=1, description="Requests that a window needs.")
    pairs: int = Field(default=50, ge=7, description="Pairs that a window needs.")
    least_cases: int = Field(default=7, ge=7, description="Cases that the old release must pass.")
    margin: float = Field(default=1.2, gt=1, description="How many times slower still passes.")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="What an answer may typically take.")
    hang_seconds: float = Field(
        default=120.0, gt=0, description="An engine with work that stands still for so long is dead."
    )
