"""The journal takes its settings once and loses no line of what runs; security updates can be tried there."""

import pytest

from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost

DEPLOY = "tests/faults/deploys/logs.py"
SETTINGS = "/etc/systemd/journald.conf.d/60-tandem.conf"
RESTARTED = "restarted systemd-journald: it ran with other settings"


@pytest.fixture
def there(spare: str) -> OnHost:
    return OnHost(spare)


def deploy(workplace: Workplace, there: OnHost) -> Ended:
    ended = workplace.run(workplace.inventory(there.name), DEPLOY)
    assert ended.status == 0, ended.output
    return ended


def test_changed_settings_come_into_force_once_and_cut_nobody_off(there: OnHost, workplace: Workplace) -> None:
    deploy(workplace, there)
    assert deploy(workplace, there).changed == []
    there.shell(f"echo '# by hand' >>{SETTINGS}")
    there.shell("systemd-run --quiet --unit=speaker sh -c 'n=0; while sleep 0.1; do n=$((n + 1)); echo line $n; done'")
    try:
        assert deploy(workplace, there).notes == [f"wrote {SETTINGS}", RESTARTED]
        assert deploy(workplace, there).changed == []
        assert there.shell("systemctl is-active speaker.service").strip() == "active"
    finally:
        there.shell("systemctl stop speaker.service; journalctl --sync")
    lines = there.shell("journalctl --unit=speaker --output=cat --grep='^line '").split("\n")
    numbers = [int(line.split()[1]) for line in lines if line]
    assert len(numbers) > 10
    assert sorted(numbers) == [*range(1, len(numbers) + 1)]


def test_a_changed_mode_restarts_nothing(there: OnHost, workplace: Workplace) -> None:
    deploy(workplace, there)
    there.shell(f"chmod 0600 {SETTINGS}")
    assert RESTARTED not in deploy(workplace, there).notes


def test_security_updates_alone_are_looked_for(there: OnHost, workplace: Workplace) -> None:
    deploy(workplace, there)
    quiet = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    there.shell(
        f"{quiet} update >/dev/null; {quiet} install -y --no-install-recommends unattended-upgrades >/dev/null 2>&1"
    )
    said = there.shell("unattended-upgrade --dry-run --debug 2>&1")
    (allowed,) = [line for line in said.splitlines() if line.startswith("Allowed origins are: ")]
    origins = allowed.removeprefix("Allowed origins are: ").split(", origin=")
    assert origins
    assert all("-security" in origin for origin in origins)
