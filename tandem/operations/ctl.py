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
def secrets(
    users: Sequence[str],
    clients: Sequence[str],
    names: Sequence[str],
    certificate: Mapping[str, str],
    given: Mapping[str, str],
) -> Commands:
    """Makes missing secrets on the host and replaces those that are given. Values travel on standard input only.

    + users: who has a password; the passwords of others are removed
    + clients: who has an API key; the keys of others are removed
    + names: what the certificate is for
    + certificate: its kind and, for acme, whom to ask
    + given: secrets that the operator chose, by name
    """
    order = {
        "users": list(users),
        "clients": list(clients),
        "names": list(names),
        "certificate": dict(certificate),
        "given": dict(given),
    }
    stdin = json.dumps(order)
    answer = host.get_fact(SecretsDue, _stdin=stdin)
    due = answer.get("changed", ["all secrets"])
    if not due and not answer.get("gate_behind"):
        host.noop("every secret is there")
        return
    if due:
        journal.note(host, f"made or changed the secrets {', '.join(due)}")
    else:
        journal.note(host, "reloaded tandem-gate: it had not read the secrets that there are")
    yield StringCommand(tandemctl("secrets", "ensure"), _stdin=stdin)


@operation(is_idempotent=False)
def rotate(what: str) -> Commands:
    """Replaces a secret on the host by a new one. Nothing but the gate is reloaded; no value is printed.

    + what: ``passwords/NAME``, ``keys/NAME``, ``gate``, ``webui_admin_password`` or ``certificate``
    """
    journal.note(host, f"rotated {what}; `tandemctl credentials` on the host shows secrets")
    yield LiveCommand(tandemctl("secrets", "rotate", what))


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
        *("--model", wanted.model),
        *("--revision", wanted.revision),
        *("--image", wanted.image),
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
