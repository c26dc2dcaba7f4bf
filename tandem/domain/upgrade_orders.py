"""What ``--data move=...`` asks of a rollout under way. Pure."""

from typing import Final

from tandem.domain.refused import Refused

WORDS: Final = ("hold", "resume", "finish")


def steering(value: object, why: str = "") -> list[str]:
    """The words after ``tandemctl upgrade``. ``why`` is kept with a hold. Raises Refused for what is no order."""
    if value == "hold":
        return ["hold", *(["--why", why] if why else [])]
    if value in WORDS:
        return [str(value)]
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return ["move", "--weight", str(value)]
    raise Refused(
        f"--data move={value} is not known. Nothing was changed. Give a share from 1 to 100, {', '.join(WORDS)}; "
        "to take all away, run deploys/rollback.py."
    )
