"""What refuses a host, each with its own sentence."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.doctor import Needs, refusals
from tandem.hostside import observe_doctor

NEEDS = Needs(memory_gib=60, disk_gib=60, ports={443: "the edge (HTTPS)"}, accept_untested_os=False)
GOOD: dict[str, Any] = {
    "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
    "machine": "x86_64",
    "systemd": True,
    "memory_mib": 64_000,
    "free_mib": {"/": 100_000},
    "listeners": {},
    "uid_owners": {},
    "state": None,
    "missing_stores": [],
}


def test_a_good_host_is_not_refused() -> None:
    assert refusals(NEEDS, GOOD) == []


CASES = {
    "untested system": ({"os": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04"}}, "Ubuntu 24.04"),
    "other processor": ({"machine": "aarch64"}, "aarch64"),
    "no systemd": ({"systemd": False}, "systemd does not run"),
    "little memory": ({"memory_mib": 16_000}, "memory is 15.6 GiB; 60 GiB is needed"),
    "little disk": ({"free_mib": {"/": 10_240}}, "/ has 10.0 GiB free; 60 GiB is needed"),
    "port taken": (
        {"listeners": {"443": {"process": "apache2", "pid": 7, "unit": "apache2.service"}}},
        "port 443 is needed for the edge (HTTPS), but apache2 (pid 7, apache2.service) listens on it",
    ),
    "image store missing": ({"missing_stores": ["/mnt/images"]}, "there is no folder /mnt/images"),
    "user id taken": ({"uid_owners": {"59001": "alice"}}, "user id 59001 belongs to alice"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_problem_has_its_own_sentence_with_the_numbers(case: str) -> None:
    change, words = CASES[case]
    sentences = refusals(NEEDS, {**GOOD, **change})
    assert len(sentences) == 1
    assert words in sentences[0]


def test_all_problems_are_reported_at_once() -> None:
    bad = GOOD | {key: value for change, _ in CASES.values() for key, value in change.items()}
    assert len(refusals(NEEDS, bad)) == len(CASES)


def test_a_port_held_by_our_own_unit_and_our_own_user_are_fine() -> None:
    own = {"listeners": {"443": {"process": "nginx", "pid": 7, "unit": "tandem-edge.service"}}}
    assert refusals(NEEDS, {**GOOD, **own, "uid_owners": {"59003": "tandem-edge"}}) == []


def test_an_untested_system_may_be_accepted_by_name_only() -> None:
    accepting = Needs(60, 60, {}, accept_untested_os=True)
    assert refusals(accepting, {**GOOD, "os": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu"}}) == []


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("sudo", "passwordless sudo"),
        ("sudo program", "apt-get install -y sudo"),
        ("python3", "apt-get install -y python3"),
    ],
)
def test_what_is_missing_to_look_at_all_is_said_alone(missing: str, words: str) -> None:
    (sentence,) = refusals(NEEDS, {"missing": missing})
    assert words in sentence


def test_a_real_listener_is_named_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        question = json.dumps({"ports": [port, 1], "uids": {}, "folders": ["/", "/no/such/folder"], "stores": ["/no"]})
        program = Path(observe_doctor.__file__)
        done = subprocess.run([sys.executable, "-I", program, question], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["listeners"].keys() == {str(port)}
    assert answer["listeners"][str(port)]["process"].startswith(("python", "pytest"))
    assert answer["free_mib"]["/no/such/folder"] == pytest.approx(answer["free_mib"]["/"], rel=0.1)
    assert answer["memory_mib"] > 0


def test_a_host_that_was_installed_has_used_its_disk_and_is_not_refused_for_it() -> None:
    used = {**GOOD, "free_mib": {"/": 20_000}}
    assert refusals(NEEDS, used) != []
    assert refusals(NEEDS, {**used, "state": {"state": "idle"}}) == []
    assert refusals(NEEDS, {**used, "state": {"state": "idle"}, "free_mib": {"/": 100}}) != []
