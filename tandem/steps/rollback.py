"""Back to the old release with one command, whatever the configuration says."""

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.domain.rollout import State
from tandem.domain.way_back import why_nothing
from tandem.facts.rollout import Situation
from tandem.hostside.state import from_record
from tandem.operations import rollout

WHY = "why"
"""``--data why=...`` says what made you hold or undo it; the host's history keeps it."""


def undo() -> None:
    """Undoes the rollout under way; where there is none, says so and how the release before comes back."""
    journal.start("rollback")
    state, why = _state(), reason()
    if state is not None and state.rollout is None:
        journal.remark(host, why_nothing(state))
        return
    rollout.back(name="Undo the rollout", why=why)


def _state() -> State | None:
    """None when it can't be read from here: then the host's own program decides."""
    seen = host.get_fact(Situation)
    try:
        return from_record(seen) if seen else State()
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def reason() -> str:
    """What ``--data why=...`` says; "" without it. Raises DeployError for what is no line of text."""
    value = host.data.get(WHY, "")
    text = str(value)
    if isinstance(value, list | dict) or not text.isprintable() or len(text) > 200:
        raise DeployError(
            f"--data {WHY}=... is not one line of at most 200 characters; nothing was changed on {host.name}"
        )
    return text
