"""What there is to undo, from the host's record. Pure."""

from tandem.domain.option import RUN, option
from tandem.domain.rollout import State
from tandem.domain.upgrade_plan import span


def why_nothing(state: State) -> str:
    """Why there is nothing to undo, and how the release before comes back. Only for a state without a rollout."""
    if state.current is None:
        return "nothing to undo: nothing serves yet"
    serves, past = f"release {state.current.release} serves", state.past
    if past is None:
        return f"nothing to undo: {serves}, and no upgrade took place"
    if past.outcome == "undone":
        return f"nothing to undo: {serves}; the upgrade to {past.release} was undone at {past.at}" + (
            f" ({past.why})" if past.why else ""
        )
    start = (
        f"its start takes {span(past.start_seconds)}" if past.start_seconds is not None else "its start takes minutes"
    )
    return (
        f"nothing to undo: {serves} since {past.at}, when the upgrade from {past.release} finished. "
        f"To bring {past.release} back: `{RUN}/upgrade.py -y --data {option(past.release)}`, without download; {start}"
    )
