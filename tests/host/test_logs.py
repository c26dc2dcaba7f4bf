"""The journal: kept over reboots, bounded in days and size, apart from the weights. Updates: security alone."""

from pathlib import Path

import pytest

from tests.host.conftest import Ask
from tests.host.reading import Seen, weights_directory


@pytest.fixture(scope="module")
def logs(ask: Ask, engines: dict[str, Seen]) -> Seen:
    first = next(iter(engines.values()))
    return ask("logs", weights=weights_directory(first["unit_file"]))


def test_the_journal_is_kept_over_reboots_and_bounded(logs: Seen) -> None:
    settings = logs["settings"]
    assert settings["Storage"] == "persistent"
    assert settings["MaxRetentionSec"].endswith("day")
    assert settings["MaxFileSec"] == "1day"
    assert logs["usage_bytes"] > 0
    # A file that is being written is not removed: one of them (128 MiB at most) may come on top.
    assert logs["usage_bytes"] <= (int(settings["SystemMaxUse"].removesuffix("M")) + 128) * 2**20


def test_the_journal_does_not_lie_with_the_weights(logs: Seen, engines: dict[str, Seen]) -> None:
    weights = Path(weights_directory(next(iter(engines.values()))["unit_file"]))
    assert not Path(logs["real"]).is_relative_to(weights)
    if logs["devices"][str(weights)] != logs["devices"]["/"]:
        assert logs["devices"]["/var/log/journal"] != logs["devices"][str(weights)]


def test_updates_come_from_the_security_archive_alone_and_never_reboot(logs: Seen) -> None:
    lines = logs["apt"]
    if 'APT::Periodic::Unattended-Upgrade "0";' in lines:
        assert 'APT::Periodic::Update-Package-Lists "0";' in lines
        return
    assert 'APT::Periodic::Unattended-Upgrade "1";' in lines
    origins = [line for line in lines if line.startswith("Unattended-Upgrade::Origins-Pattern:: ")]
    assert origins
    assert all("-security" in line for line in origins)
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in lines
