"""Changes that happen on the host, by its own program: secrets, the record of what serves, waiting for it."""

import json
from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import OperationError, StringCommand, operation

from tandem import journal
from tandem.commands import tandemctl
from tandem.domain.rollout import Refused, Slot, State
from tandem.domain.rollout import adopt as decide
from tandem.facts.ctl import CtlStatus, Readiness, SecretsDue
from tandem.hostside.state import from_record
from tandem.operations.live import Commands, LiveCommand


@operation()
def secrets(basic_user: str, api_client: str, names: Sequence[str], given: Mapping[str, str]) -> Commands:
    """Makes missing secrets on the host and replaces those that are given. Values travel on standard input only.

    + names: what the certificate is for
    + given: secrets that the operator chose, by name
    """
    order = {"basic_user": basic_user, "api_client": api_client, "names": list(names), "given": dict(given)}
    stdin = json.dumps(order)
    due = host.get_fact(SecretsDue, _stdin=stdin).get("changed", ["all secrets"])
    if not due:
        host.noop("every secret is there")
        return
    journal.note(host, f"made or changed the secrets {', '.join(due)}")
    yield StringCommand(tandemctl("secrets", "ensure"), _stdin=stdin)


@operation()
def adopt(slot: str, wanted: Slot, webui_port: int) -> Commands:
    """Records what serves on a first install; afterwards only repairs the split. Never changes what serves."""
    status = host.get_fact(CtlStatus)
    state = from_record(status) if status else State()
    try:
        after, sentence = decide(state, slot, wanted, webui_port)
    except Refused as refusal:
        raise OperationError(str(refusal)) from None
    differing = sorted(status.get("split_differs", {}))
    if after == state and not differing:
        host.noop(sentence)
        return
    if after != state:
        journal.note(host, sentence)
    for name in differing if status else []:
        journal.note(host, f"wrote the split {name}")
    yield tandemctl(
        "adopt",
        *("--release", wanted.release),
        *("--digest", wanted.digest),
        *("--slot", slot),
        *("--engine-ports", ",".join(str(port) for port in wanted.engine_ports)),
        *("--webui-port", str(webui_port)),
    )


@operation()
def ready(targets: Sequence[str], timeout_seconds: int, restart_webui_after_seconds: int | None = None) -> Commands:
    """Waits until every engine has completed a real request and the WebUI answers.

    + targets: ``--engine UNIT=URL``, ``--webui UNIT=URL`` and ``--model NAME``, as tandemctl reads them
    + restart_webui_after_seconds: restart a silent WebUI once; None where it may have data
    """
    answers = host.get_fact(Readiness, question=list(targets))
    if answers and all(answer["ready"] for answer in answers.values()):
        host.noop("every engine completed a request and the WebUI answers")
        return
    journal.note(host, f"waited until {', '.join(answers) or 'everything'} answered")
    limit = ["--timeout-seconds", str(timeout_seconds)]
    if restart_webui_after_seconds is not None:
        limit += ["--restart-webui-after-seconds", str(restart_webui_after_seconds)]
    yield LiveCommand(tandemctl("wait-ready", *targets, *limit, "--progress"))
