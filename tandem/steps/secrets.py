import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from tandem import journal
from tandem.config import Config
from tandem.config.edge import Files
from tandem.config.secrets import SecretSource
from tandem.operations import ctl
from tandem.render.certificate import wanted_certificate
from tandem.steps.run import Run

COMMAND_SECONDS = 60
KEY = "certificate_key"


@deploy("Secrets")
def ensure(run: Run) -> None:
    """Secrets that the operator gives, and generated ones for the rest; the certificate."""
    edge = run.config.edge
    given = {name: value(label, source) for name, (label, source) in given_sources(run.config).items()}
    journal.mask.update(line for text in given.values() for line in text.splitlines() if not line.startswith("-----"))
    if isinstance(edge.certificate, Files):
        given["certificate"] = edge.certificate.certificate
    ctl.secrets(
        name="Secrets",
        users=edge.users,
        clients=sorted(edge.clients),
        names=[edge.server_name, *edge.alternative_names],
        certificate=wanted_certificate(run.config),
        given=given,
    )


def given_sources(config: Config) -> dict[str, tuple[str, SecretSource]]:
    """Each secret that the operator gives, by its name on the host: its option, and where it is taken from."""
    return dict(_sources(config))


def _sources(config: Config) -> Iterator[tuple[str, tuple[str, SecretSource]]]:
    for kind, sources in (("passwords", config.secrets.passwords), ("keys", config.secrets.keys)):
        for name, source in sources.items():
            yield f"{kind}/{name}", (f"secrets/{kind}/{name}", source)
    if config.secrets.webui_admin_password:
        yield "webui_admin_password", ("secrets/webui_admin_password", config.secrets.webui_admin_password)
    if config.notify and config.notify.url:
        yield "notify_url", ("notify/url", config.notify.url)
    if isinstance(config.edge.certificate, Files):
        yield KEY, ("edge/certificate/key", config.edge.certificate.key)


@cache
def value(label: str, source: SecretSource) -> str:
    """The secret from where the operator keeps it; asked once per run. Raises DeployError, which never shows it."""
    where, text = _read(label, source)
    found = text.strip()
    if label == "edge/certificate/key":
        if "PRIVATE KEY-----" not in found:
            raise DeployError(f"{label}: the {where} must hold a private key (PEM); nothing was changed")
        return f"{found}\n"
    if len(found) < 12 or not found.isprintable() or " " in found:
        raise DeployError(
            f"{label}: the {where} must hold at least 12 printable characters without spaces; nothing was changed"
        )
    return found


def _read(label: str, source: SecretSource) -> tuple[str, str]:
    if source.command is not None:
        where = f"command {source.command[0]}"
        return where, _output(label, where, source.command)
    where = f"environment variable {source.env}" if source.env else f"file {source.file}"
    try:
        return where, os.environ[source.env] if source.env else Path(str(source.file)).expanduser().read_text()
    except (KeyError, OSError, UnicodeDecodeError):
        raise DeployError(f"{label}: the {where} can't be read; nothing was changed") from None


def _output(label: str, where: str, command: tuple[str, ...]) -> str:
    """What the command prints; what it says on standard error goes to the operator."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=True)
        return done.stdout.decode()
    except subprocess.TimeoutExpired:
        problem = f"did not end within {COMMAND_SECONDS} s"
    except subprocess.CalledProcessError as error:
        problem = f"ended with status {error.returncode}"
    except (OSError, ValueError) as error:
        problem = f"can't be run: {getattr(error, 'strerror', None) or 'it printed no text'}"
    # Outside of the handlers: an exception would carry what was printed along as its context.
    raise DeployError(f"{label}: the {where} {problem}; nothing was changed")
