"""What refuses a host, each with its own sentence; what only warns; and how it is shown."""

import json
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.commands import program_source
from tandem.domain.cards import APP_FIELDS, FIELDS
from tandem.domain.debian import package_version_key
from tandem.domain.doctor import checks, refusals, warnings
from tandem.facts.doctor import DoctorState
from tandem.hostside import doctor_disks, doctor_packages
from tandem.hostside.asking import at_once
from tandem.render.doctor import as_json, table
from tests.unit.doctoring import GOOD, IMAGE, NEEDS, not_passed, reasons, rows, spoiled

SPACE = GOOD["space"]
LITTLE = {**SPACE, "/": {**SPACE["/"], "free_mib": 10_240}}
DISK = GOOD["nvme"]["disks"]["/dev/nvme0"]
LONGEST_ARGUMENT_BYTES = 128 * 1024  # MAX_ARG_STRLEN of Linux


def test_a_good_host_is_not_refused() -> None:
    assert reasons({}) == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "untested system": ({"os": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04"}}, "Ubuntu 24.04"),
    "other processor": ({"machine": "aarch64"}, "aarch64"),
    "no systemd": ({"systemd": False}, "systemd does not run"),
    "little memory": ({"memory_mib": 16_000}, "memory is 15.6 GiB; 60 GiB is needed"),
    "little disk": ({"space": LITTLE}, "/ has 10.0 GiB free; 60 GiB is needed"),
    "port taken": (
        {"listeners": {"443": {"process": "apache2", "pid": 7, "unit": "apache2.service"}}},
        "port 443 is needed for the edge (HTTPS), but apache2 (pid 7, apache2.service) listens on it",
    ),
    "image store missing": ({"missing_stores": ["/mnt/images"]}, "there is no folder /mnt/images"),
    "user id taken": ({"uid_owners": {"59001": "alice"}}, "user id 59001 belongs to alice"),
    "disk vanished": ({"missing_paths": ["/dev/nvme0n1"]}, "/dev/nvme0n1 does not exist: storage/device names a disk"),
    "disk read-only": (
        {"nvme": {"tool": "nvme", "disks": {"/dev/nvme0": {**DISK, "warning": 8}}}},
        "/dev/nvme0 has become read-only",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_problem_has_its_own_sentence_with_the_numbers(case: str) -> None:
    change, words = REFUSED[case]
    (sentence,) = reasons(change)
    assert words in sentence


def test_all_problems_are_reported_at_once() -> None:
    assert len(reasons({key: value for change, _ in REFUSED.values() for key, value in change.items()})) == len(REFUSED)


WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "few processors": ({"processors": 4}, "processors", "4 processors (AMD Ryzen"),
    "less memory than advised": ({"memory_mib": 60_000}, "memory", "64 GiB is needed"),
    "worn disk": (
        {"nvme": {"tool": "nvme", "disks": {"/dev/nvme0": {**DISK, "worn_percent": 97}}}},
        "NVMe health /dev/nvme0",
        "97 % worn",
    ),
    "failing disk": (
        {"nvme": {"tool": "nvme", "disks": {"/dev/nvme0": {**DISK, "media_errors": 5}}}},
        "NVMe health /dev/nvme0",
        "5 media errors",
    ),
    "no tool for disks": (
        {"nvme": {"tool": "", "disks": {"/dev/nvme0": {}}}},
        "NVMe health",
        "apt-get install nvme-cli",
    ),
    "clock off": ({"skew_seconds": -412.0}, "clock", "412 s away from this computer's"),
    "clock never set": ({"synchronised": False, "state": {"state": "idle"}}, "clock", "timedatectl timesync-status"),
    "hold in the way": (
        {"packages": {**GOOD["packages"], "held": [["libcuda1", "hi"], ["nginx", "hn"]]}},
        "apt holds",
        "held although not installed: nginx",
    ),
    "updates of the driver by itself": (
        {"apt": {**GOOD["apt"], "unattended": True}},
        "unattended-upgrades",
        "may pull driver and module apart (libnvidia-ml1)",
    ),
    "reboots by itself": (
        {"apt": {**GOOD["apt"], "unattended": True, "reboots": True}},
        "unattended-upgrades",
        "reboots",
    ),
    "held security update": (
        {"packages": {**GOOD["packages"], "security": {"libcuda1": ["580.159.04-1", "580.173.02-1"]}}},
        "security updates",
        "1 held back: libcuda1",
    ),
    "security update": (
        {"packages": {**GOOD["packages"], "security": {"openssl": ["3.5.1-1", "3.5.1-1+deb13u1"]}}},
        "security updates",
        "1 due: openssl",
    ),
    "docker": ({"runtimes": ["dockerd"]}, "other container runtimes", "dockerd"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_only_warns_says_what_to_do(case: str) -> None:
    changes, name, words = WARNED[case]
    assert not_passed(changes) == {name: "warn"}
    row = rows(changes)[name]
    assert words in row.sentence
    assert row.advice
    (line,) = warnings(checks(NEEDS, spoiled(changes)))
    assert line.startswith(f"{name}: {row.found}")


def test_an_older_version_in_the_security_list_is_no_update() -> None:
    packages = {**GOOD["packages"], "security": {"openssl": ["1:3.5.2-1", "3.6.0-1"]}}
    assert not_passed({"packages": packages}) == {}


def test_package_versions_sort_as_debian_sorts_them() -> None:
    versions = [
        "1.0~rc1-1",
        "1.0-1~bpo13+1",
        "1.0-1",
        "1.0-1+deb13u1",
        "1.0-2",
        "1.0.1-1",
        "1.2-1",
        "1.10-1",
        "1:0.5-1",
    ]
    assert sorted({*versions}, key=package_version_key) == versions


def test_a_port_held_by_our_own_unit_and_our_own_user_are_fine() -> None:
    own = {"listeners": {"443": {"process": "nginx", "pid": 7, "unit": "tandem-edge.service"}}}
    assert reasons({**own, "uid_owners": {"59003": "tandem-edge"}}) == []


def test_an_untested_system_may_be_accepted_by_name_only() -> None:
    changes = {"os": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu"}}
    assert not_passed(changes, replace(NEEDS, accept_untested_os=True)) == {"operating system": "warn"}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("sudo", "passwordless sudo"),
        ("sudo program", "apt-get install -y sudo"),
        ("python3", "apt-get install -y python3"),
    ],
)
def test_what_is_missing_to_look_at_all_is_said_alone(missing: str, words: str) -> None:
    (sentence,) = refusals(checks(NEEDS, {"missing": missing}))
    assert words in sentence


def test_a_host_that_was_installed_has_used_its_disk_and_is_not_refused_for_it() -> None:
    used = {"space": {**SPACE, "/": {**SPACE["/"], "free_mib": 20_000}}}
    assert reasons(used) != []
    assert reasons({**used, "state": {"state": "idle"}}) == []
    assert reasons({"space": {**SPACE, "/": {**SPACE["/"], "free_mib": 100}}, "state": {"state": "idle"}}) != []


def test_weights_that_can_never_fit_are_refused_before_the_download() -> None:
    disk = SPACE["/srv/weights"]
    small = {"space": {**SPACE, "/srv/weights": {**disk, "size_mib": 9000, "free_mib": 9000}}}
    (sentence,) = reasons(small)
    assert sentence.startswith("/srv/weights is on a disk of 8.8 GiB; 13.0 GiB is needed")
    assert reasons({**small, "absent": {**GOOD["absent"], "weights": []}}) == []


def test_a_download_that_was_cut_short_may_go_on_where_it_fills_the_disk() -> None:
    partly = {"space": {**SPACE, "/srv/weights": {**SPACE["/srv/weights"], "free_mib": 9000}}}
    assert not_passed(partly) == {"disk, weights": "warn"}


def test_the_table_is_aligned_wraps_and_says_the_result_in_words() -> None:
    found = checks(NEEDS, spoiled({"memory_mib": 16_000, "processors": 4}))
    for width in (80, 130):
        lines = table("gpu1", found, width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("Doctor of gpu1: ")
        assert lines[0].endswith("1 warn, 1 FAIL")
        column = lines[2].index("FOUND")
        (memory,) = [line for line in lines if line.startswith("FAIL")]
        assert memory[column:].startswith("memory is")
        assert any("-> add memory" in line for line in lines)


def test_what_is_the_same_of_both_cards_is_one_row_of_the_table() -> None:
    text = table("gpu1", checks(NEEDS, GOOD), 120)
    assert "cards 0 1: memory" in text
    assert "card 0: model" in text
    assert "card 1: model" in text


def test_json_has_every_row_and_the_verdict() -> None:
    found = checks(NEEDS, GOOD)
    answer = json.loads(as_json("gpu1", found))
    assert (answer["host"], answer["fit"], len(answer["checks"])) == ("gpu1", True, len(found))
    assert answer["checks"][0] == {
        "name": "operating system",
        "level": "ok",
        "found": "Debian GNU/Linux 13 (trixie)",
        "needed": "Debian 13",
        "advice": "",
    }
    assert json.loads(as_json("gpu1", checks(NEEDS, spoiled({"machine": "aarch64"}))))["fit"] is False


QUESTION: dict[str, Any] = {
    "ports": [1],
    "uids": {},
    "folders": ["/", "/no/such/folder"],
    "stores": ["/no"],
    "image_stores": [],
    "paths": ["/", "/no"],
    "images": [IMAGE],
    "models": ["/no/such/folder/revision"],
    "sources": {"packages": [], "weights": []},
    "ask": "missing",
    "limit_seconds": 2,
    "card_fields": FIELDS,
    "app_fields": APP_FIELDS,
}


def test_the_program_answers_every_question_that_the_checks_have(tmp_path: Path) -> None:
    """The real program on this machine: its answer is one that every check can read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        question = {**QUESTION, "ports": [port, 1], "ask": "none"}
        command = [sys.executable, "-I", "-c", program_source("observe_doctor"), json.dumps(question)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["listeners"].keys() == {str(port)}
    assert answer["listeners"][str(port)]["process"].startswith(("python", "pytest"))
    assert answer["space"]["/no/such/folder"]["free_mib"] == pytest.approx(answer["space"]["/"]["free_mib"], rel=0.1)
    assert (answer["missing_stores"], answer["missing_paths"]) == (["/no"], ["/no"])
    assert answer["absent"]["images"] == [IMAGE]
    assert answer["memory_mib"] > 0
    found = {**answer, "skew_seconds": 0.0, "space": {**answer["space"], "/srv/weights": answer["space"]["/"]}}
    names = [row.name for row in checks(NEEDS, found)]
    assert {"operating system", "memory", "driver", "kernel", "apt holds", "DNS", "images"} <= set(names)


def test_the_program_fits_into_one_argument() -> None:
    assert len(DoctorState().command(QUESTION).get_raw_value()) < LONGEST_ARGUMENT_BYTES / 2


def test_security_lists_are_read_without_apts_cache(tmp_path: Path) -> None:
    assert doctor_packages.security({"bash": "1"}, str(tmp_path)) is None
    text = "Package: bash\nArchitecture: amd64\nVersion: 2\n\nPackage: dash\nVersion: 1\n\nPackage: zsh\nVersion: 9\n"
    (tmp_path / "deb.example_debian-security_dists_trixie-security_main_binary-amd64_Packages").write_text(text)
    assert doctor_packages.security({"bash": "1", "dash": "1"}, str(tmp_path)) == {"bash": ["1", "2"]}


@pytest.mark.parametrize(
    "log",
    [
        {"critical_warning": 4, "temperature": 310, "avail_spare": 98, "percent_used": 7, "media_errors": 2},
        {
            "critical_warning": {"value": 4, "available_spare": 0},
            "avail_spare": 98,
            "percent_used": 7,
            "media_errors": "2",
        },
        {
            "nvme_smart_health_information_log": {
                "critical_warning": 4,
                "available_spare": 98,
                "percentage_used": 7,
                "media_errors": 2,
            }
        },
    ],
    ids=["nvme-cli", "nvme-cli in detail", "smartctl"],
)
def test_the_health_of_a_disk_is_read_from_either_tool(log: dict[str, Any]) -> None:
    """The key names are those of nvme-cli's and smartmontools' JSON."""
    seen = doctor_disks.read_log(log)
    assert seen == {"warning": 4, "worn_percent": 7, "media_errors": 2, "spare_percent": 98}
    changes = {"nvme": {"tool": "nvme", "disks": {"/dev/nvme0": {"model": "Fast 1TB", **seen}}}}
    assert not_passed(changes) == {"NVMe health /dev/nvme0": "warn"}


def test_a_disk_that_tells_nothing_is_not_called_healthy() -> None:
    changes = {"nvme": {"tool": "nvme", "disks": {"/dev/nvme0": {"model": "Fast 1TB", "why": "Permission denied"}}}}
    assert not_passed(changes) == {"NVMe health /dev/nvme0": "warn"}


def test_a_question_that_never_ends_is_left_behind() -> None:
    never = threading.Event()
    assert at_once({"stuck": lambda: never.wait(30), "quick": lambda: 1}, 0.2) == {"stuck": None, "quick": 1}
    never.set()
