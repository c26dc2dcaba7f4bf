"""Another driver version on a host that serves: consent, drain, reboot, proof, and the way back when the proof fails.

The tests go on from each other's host; engines are stand-ins that only wait.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.cards import CARDS, boot_id, make
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import refused

STEPS = "tests/faults/deploys/gpu.py"
OLD, NEW = "580.159.03", "580.159.04"
ENGINES = ("vllm-blue-0", "vllm-blue-1")
# A STAND-IN for an engine: it starts after the cards are described, and runs.
ENGINE = """[Unit]
After=tandem-cdi.service
Requires=tandem-cdi.service
[Service]
ExecStart=/bin/sleep infinity
Restart=always
[Install]
WantedBy=multi-user.target
"""
SERVING = {
    "schema": 1,
    "state": "idle",
    "serving": "blue",
    "slots": {"blue": {"release": "a", "digest": "0123456789abcdef", "engine_ports": [18100, 18101], "weight": 100}},
    "webui": {"slot": "blue", "port": 18300},
    "held": None,
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnHost]:
    """A host with driver OLD on which a release serves, as far as the steps for the cards can see."""
    there = make()
    ended = run(Workplace(tmp_path_factory.mktemp("install")), driver_version=OLD)
    assert ended.status == 0, ended.output
    for name in ENGINES:
        there.shell(f"cat >/etc/systemd/system/{name}.service <<'END'\n{ENGINE}END\nsystemctl enable -q --now {name}")
    there.shell(f"cat >/var/lib/tandem/state.json <<'END'\n{json.dumps(SERVING)}\nEND")
    yield there
    host.remove(STATE, CARDS)


def run(workplace: Workplace, **changes: Any) -> Ended:
    gpu = dict(hosts(STATE))[CARDS]["gpu"]
    return workplace.run(workplace.inventory(CARDS, {"gpu": {**gpu, **changes}}), STEPS)


def versions(there: OnHost) -> tuple[str, str]:
    """(loaded module, installed library)."""
    loaded = there.shell("cat /proc/driver/nvidia/version").split("x86_64")[1].split()[0]
    return loaded, there.shell("dpkg-query -W -f '${Version}' libcuda1").rsplit("-", 1)[0]


def active(there: OnHost) -> list[str]:
    return there.shell(f"systemctl is-active {' '.join(ENGINES)} || true").split()


def test_a_newer_driver_in_the_source_changes_nothing(serving: OnHost, workplace: Workplace) -> None:
    ended = run(workplace)
    assert ended.status == 0, ended.output
    assert versions(serving) == (OLD, OLD)


def test_another_version_is_refused_without_consent(serving: OnHost, workplace: Workplace) -> None:
    before = boot_id(serving)
    refused(run(workplace, driver_version=NEW), "gpu/allow_outage", f"from {OLD} to {NEW}", "nothing was changed")
    assert (versions(serving), boot_id(serving)) == ((OLD, OLD), before)


def test_the_guard_notices_lost_holds_and_the_next_run_puts_them_back(serving: OnHost, workplace: Workplace) -> None:
    serving.shell("apt-mark unhold libcuda1; systemctl start tandem-driver-check || true")
    assert "libcuda1" in serving.shell("cat /run/tandem/driver-mismatch")
    ended = run(workplace)
    assert ended.status == 0, ended.output
    assert ended.notes.count("held libcuda1") == 1
    serving.shell("systemctl start tandem-driver-check; test ! -e /run/tandem/driver-mismatch")


def test_a_driver_that_fails_its_proof_is_replaced_by_the_one_before(serving: OnHost, workplace: Workplace) -> None:
    serving.shell("echo 803 >/etc/rehearsal/cuda-error")
    refused(run(workplace, driver_version=NEW, allow_outage=True), "CUDA error 803", f"{OLD} was put back")
    assert versions(serving) == (OLD, OLD)
    assert active(serving) == ["active", "active"]
    serving.shell("rm /etc/rehearsal/cuda-error")


def test_with_consent_it_is_changed_and_the_engines_run_again(serving: OnHost, workplace: Workplace) -> None:
    before = boot_id(serving)
    ended = run(workplace, driver_version=NEW, allow_outage=True)
    assert ended.status == 0, ended.output
    assert "planned maintenance" in ended.output
    assert boot_id(serving) != before
    assert versions(serving) == (NEW, NEW)
    assert active(serving) == ["active", "active"]
    assert serving.shell("ls /var/lib/tandem/driver").split() == [OLD, NEW]
    again = run(workplace, driver_version=NEW)
    assert (again.status, again.changed) == (0, []), again.output
