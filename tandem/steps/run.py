"""What one deploy run knows about one host, asked before anything is touched."""

from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config import Config, ConfigError, load
from tandem.config.placeholders import placeholders
from tandem.domain import slots
from tandem.domain.doctor import Needs, refusals
from tandem.domain.rollout import State
from tandem.facts.doctor import DoctorState
from tandem.hostside.state import from_record
from tandem.render.release import release_digest


@dataclass(frozen=True)
class Run:
    """``state`` is what the host has recorded; ``slot`` is where the wanted release runs or will run."""

    name: str
    config: Config
    state: State

    @property
    def slot(self) -> str:
        return self.state.serving or slots.FIRST_SLOT

    @property
    def engine_is_another(self) -> bool:
        """Another release serves: its units stay as they were staged."""
        return self.state.current is not None and self.state.current.digest != release_digest(self.config)


def begin(command: str) -> Run:
    """Starts the journal, reads the configuration, and refuses a host that can't be provisioned.

    Raises DeployError with the whole report; nothing has been changed then.
    """
    journal.start(command)
    try:
        config = load(host.data.dict(), host.name)
    except ConfigError as error:
        raise DeployError(str(error)) from None
    zeros = placeholders(config)
    if zeros:
        raise DeployError("\n  ".join([f"{host.name} was not touched:", *zeros]))
    needs = _needs(config)
    question = {
        "ports": sorted(needs.ports),
        "uids": slots.UIDS,
        "folders": sorted({"/", config.runtime.image_store}),
        "stores": list(config.runtime.additional_image_stores),
    }
    found = host.get_fact(DoctorState, question=question, _sudo=False)
    reasons = refusals(needs, found)
    if reasons:
        raise DeployError("\n  ".join([f"{host.name} can't be provisioned; nothing was changed on it:", *reasons]))
    return Run(host.name, config, _state(found["state"]))


def _state(record: dict[str, Any] | None) -> State:
    try:
        state = from_record(record) if record else State()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeployError(
            f"/var/lib/tandem/state.json on {host.name} is damaged ({error}); nothing was changed: "
            "`tandemctl status` there says more"
        ) from None
    if state.phase != "idle":
        raise DeployError(
            f"a rollout is {state.phase} on {host.name}; nothing was changed: let it end, or roll it back"
        )
    return state


def _needs(config: Config) -> Needs:
    ports: dict[int, str] = {
        config.edge.https_port: "the edge (HTTPS)",
        config.edge.http_port: "the edge (HTTP redirect)",
        slots.ROUTER_ENGINE_API_PORT: "the engine router",
        slots.ROUTER_ENGINE_WEBUI_PORT: "the engine router",
        slots.ROUTER_WEBUI_PORT: "the WebUI router",
        **{port: f"the status of {unit}" for unit, port in slots.STATUS_PORT.items()},
        **{port: f"Open WebUI ({slot})" for slot, port in slots.WEBUI_PORT.items()},
        **{
            slots.engine_port(slot, card): f"{slots.engine_unit(slot, card)}"
            for slot in slots.SLOTS
            for card in config.engine.cards
        },
    }
    return Needs(config.host.minimum_memory_gib, config.host.minimum_disk_gib, ports, config.host.accept_untested_os)
