"""How long lines are kept, and which updates come by themselves: as text, and as systemd and apt read it."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tandem.config import Config
from tandem.config.bundle import BundleConfig
from tandem.config.logs import LogsConfig
from tandem.hostside.observe_logs import written
from tandem.render.logs import JOURNAL, render_logs
from tandem.render.tree import File, Tree
from tandem.render.updates import SETTINGS, render_updates, update_packages
from tests.golden.rendered import example


def text(tree: Tree, path: str) -> str:
    entry = tree.entries[path]
    assert isinstance(entry, File)
    return entry.content


def updating(**host: Any) -> Config:
    config = example()
    return config.model_copy(update={"host": config.host.model_copy(update=host)})


def read_by_apt(content: str, folder: Path) -> dict[str, list[str]]:
    """What apt has in the end, with Debian's own defaults read before ours."""
    if not shutil.which("apt-config"):
        pytest.fail("apt-config is not installed: this runs on Debian")
    parts = folder / "parts"
    parts.mkdir()
    (parts / "50unattended-upgrades").write_text(
        'Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };\n'
        'Unattended-Upgrade::Allowed-Origins { "Debian stable"; };\n'
    )
    (parts / "20auto-upgrades").write_text('APT::Periodic::Unattended-Upgrade "1";\n')
    (parts / Path(SETTINGS).name).write_text(content)
    (folder / "apt.conf").write_text(f'Dir::Etc::parts "{parts}";\n')
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    shown = subprocess.run(["apt-config", "dump"], env=environment, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.rstrip(":"), []).append(value.strip('";'))
    return found


def test_the_journal_keeps_lines_as_long_and_as_many_as_configured() -> None:
    config = example().model_copy(update={"logs": LogsConfig(retention_days=7, maximum_mib=512)})
    lines = text(render_logs(config), JOURNAL).splitlines()
    assert {"Storage=persistent", "MaxRetentionSec=7day", "SystemMaxUse=512M", "MaxFileSec=1day"} <= set(lines)


def test_only_security_updates_come_and_nothing_reboots(tmp_path: Path) -> None:
    found = read_by_apt(text(render_updates(updating()), SETTINGS), tmp_path)
    origins = [origin for origin in found["Unattended-Upgrade::Origins-Pattern"] if origin]
    assert origins
    assert all("-security" in origin for origin in origins)
    assert not [origin for origin in found.get("Unattended-Upgrade::Allowed-Origins", []) if origin]
    assert found["APT::Periodic::Unattended-Upgrade"] == ["1"]
    assert found["Unattended-Upgrade::Automatic-Reboot"] == ["false"]
    assert update_packages(updating()) == ["unattended-upgrades"]


def test_updates_that_are_switched_off_stay_off_where_the_package_is_installed(tmp_path: Path) -> None:
    off = updating(security_updates=False)
    found = read_by_apt(text(render_updates(off), SETTINGS), tmp_path)
    assert found["APT::Periodic::Unattended-Upgrade"] == ["0"]
    assert update_packages(off) == []


def test_a_host_with_a_bundle_asks_no_network_for_updates(tmp_path: Path) -> None:
    bundle = BundleConfig.model_construct(path="/srv/bundle", key="")
    offline = updating().model_copy(update={"bundle": bundle})
    found = read_by_apt(text(render_updates(offline), SETTINGS), tmp_path)
    assert found["APT::Periodic::Update-Package-Lists"] == ["0"]
    assert update_packages(offline) == []


def test_a_changed_mode_is_no_new_content(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    assert written(str(path)) is None
    path.write_text("x")
    before = written(str(path))
    path.chmod(0o600)
    assert written(str(path)) == before
