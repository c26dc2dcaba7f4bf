"""What one deploy run knows about one host, asked before anything is touched."""

from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config import Config, ConfigError, load
from tandem.config.placeholders import placeholders
from tandem.domain import slots
from tandem.domain.doctor import refusals, warnings
from tandem.domain.rollout import State
from tandem.hostside.state import from_record
from tandem.render.release import release_digest
from tandem.steps import capacity, doctor

OPTIONS = (
    *(doctor.AS_JSON, "rotate", "remove", "follow", "move", "again", "report", "why"),
    *("to", "from", "identity", "replace", "scratch"),
)
"""What ``--data`` says to one deploy; no part of the configuration."""


@dataclass(frozen=True)
class Run:
    """``state`` is what the host has recorded; ``slot`` is where what serves runs, ``webui_slot`` where the WebUI does.

    They part with the first upgrade: engines and WebUI change slots apart from each other.
    """

    name: str
    config: Config
    state: State

    @property
    def slot(self) -> str:
        return self.state.serving or slots.FIRST_SLOT

    @property
    def webui_slot(self) -> str:
        return self.state.webui.slot if self.state.webui else slots.FIRST_SLOT

    @property
    def engine_is_another(self) -> bool:
        """Another release serves: its units stay as they were staged."""
        return self.state.current is not None and self.state.current.digest != release_digest(self.config)


def begin(command: str, during_rollout: bool = False) -> Run:
    """Starts the journal, reads the configuration, and refuses a host that can't be provisioned.

    ``during_rollout``: a rollout under way is no reason to refuse. Raises DeployError with the whole report; nothing
    has been changed then. What only warns becomes remarks.
    """
    config = configuration(command)
    found, rows = doctor.examine(config, "missing")
    reasons = refusals(rows)
    # A host that could not be looked at has no record to show.
    state = _state(found.get("state"), during_rollout)
    # Engines come and go during a rollout: what it needs was looked at before it began.
    if reasons and state.rollout is None:
        raise DeployError("\n  ".join([f"{host.name} can't be provisioned; nothing was changed on it:", *reasons]))
    _same_model(config, state)
    for line in warnings(rows):
        journal.remark(host, f"doctor: {line}")
    run = Run(host.name, config, state)
    if run.state.current is None:
        capacity.plan(config, found)
    return run


def _same_model(config: Config, state: State) -> None:
    """Clients ask for the model by name: a name that no engine has is answered with an error."""
    current, wanted = state.current, config.wanted.model.name
    if current and current.model and current.model != wanted:
        raise DeployError(
            f"{host.name} serves the model as {current.model!r}, clients ask for it by that name, and release "
            f"{config.release} calls it {wanted!r}; nothing was changed: give every release the same model/name"
        )


def configuration(command: str) -> Config:
    """Starts the journal of ``command`` and reads the inventory. Raises DeployError with every error in it."""
    journal.start(command)
    values = {name: value for name, value in host.data.dict().items() if name not in OPTIONS}
    try:
        config = load(values, host.name)
    except ConfigError as error:
        raise DeployError(str(error)) from None
    zeros = placeholders(config)
    if zeros:
        raise DeployError("\n  ".join([f"{host.name} was not touched:", *zeros]))
    return config


def _state(record: dict[str, Any] | None, during_rollout: bool) -> State:
    try:
        state = from_record(record) if record else State()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeployError(
            f"/var/lib/tandem/state.json on {host.name} is damaged ({error}); nothing was changed: "
            "`tandemctl status` there says more"
        ) from None
    if state.rollout is not None and not during_rollout:
        raise DeployError(
            f"a rollout is {state.phase} on {host.name}; nothing was changed: let it end (deploys/status.py says "
            "when), or undo it with deploys/rollback.py"
        )
    return state
