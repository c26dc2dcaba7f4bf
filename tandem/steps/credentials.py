"""Which secrets a host has and how old they are, and a new one in the place of an old one. No value leaves the host."""

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem.config import Config
from tandem.facts.ctl import SecretAges
from tandem.operations import ctl
from tandem.steps.secrets import KEY, given_sources

ROTATE = "rotate"
"""``--data rotate=keys/ci`` makes a new secret in the place of that one."""


def show(config: Config) -> None:
    """Prints the names and ages of the host's secrets; with ``--data rotate=NAME`` makes that one new instead.

    Raises DeployError when the host has none yet or NAME cannot be rotated from here.
    """
    ages = host.get_fact(SecretAges)
    if not ages:
        raise DeployError(f"{host.name} has no secrets yet; run deploys/install.py first")
    given = {"certificate" if name == KEY else name: option for name, (option, _) in given_sources(config).items()}
    what = host.data.get(ROTATE, None)
    if what is None:
        print(_table(host.name, ages, given), flush=True)
        return
    if what not in ages:
        raise DeployError(f"{host.name} has no secret {what!r}; these it has: {', '.join(ages)}; nothing was changed")
    if what in given:
        raise DeployError(
            f"{what} is given by {given[what]}, and the next install would put that one back; nothing was changed: "
            "give another one there and run deploys/install.py"
        )
    ctl.rotate(name="Rotate a secret", what=what)


def _table(name: str, ages: dict[str, float], given: dict[str, str]) -> str:
    width = max(len(secret) for secret in ages)
    rows = [
        f"  {secret:<{width}}  {days:6.1f} days  {f'given by {given[secret]}' if secret in given else 'generated'}"
        for secret, days in ages.items()
    ]
    shown = "Values are shown only on the host: sudo tandemctl credentials"
    return "\n".join(["", f"Secrets of {name}:", *rows, "", shown])
