"""The doctor on a real host, in each state that cards, driver and network can be in. It never changes anything."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tandem.rehearsal import host, rootfs
from tandem.rehearsal.inventory import STATE
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import nothing_changes, refused

NAME = os.environ.get("TANDEM_DOCTOR_HOST", "gpu4")
DEPLOY = "deploys/doctor.py"
STANDINS = Path(rootfs.__file__).with_name("standins")
THERE = {"gpu": {"driver_source": "none", "container_toolkit": False}}
COMES = {"gpu": {"driver_source": "distro", "container_toolkit": True}}
SILENT_PORT = 5999
MOST_SECONDS = 15

Rows: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class State:
    """What cards.json asks for, the row that shows it, and what that says."""

    row: str
    level: str
    words: str


STATES = {
    "mismatch": State("driver and library", "fail", "the same version is needed: reboot"),
    "lost card": State(
        "nvidia-smi", "fail", "a card fell off the bus: Unable to determine the device handle for GPU0000:41"
    ),
    "one card": State("cards", "fail", "there is no card 1; 2 cards (engine/cards 0, 1) is needed"),
    "foreign memory": State("card 0: used by others", "fail", "card 0: others hold 9000 MiB of it"),
    "nouveau": State("nouveau", "fail", "nouveau holds the cards; NVIDIA's driver is needed: blacklist nouveau"),
    "slow link": State("card 1: PCIe link", "warn", "card 1: generation 1 x4 now (idle), at most 3 x16"),
    "ecc": State("card 1: ECC", "warn", "card 1: on, 3 uncorrected errors since the driver was loaded"),
    "secure boot": State("Secure Boot", "warn", "Secure Boot is on and would refuse a module"),
    "xid": State("card errors (Xid)", "warn", "79 fell off the bus"),
}


@pytest.fixture(scope="module")
def blank() -> Iterator[OnHost]:
    """A host with two cards and nothing installed for them, for these tests alone."""
    host.remove(STATE, NAME)
    host.create(STATE, NAME, lambda _sentence: None, blank=True)
    host.boot(STATE, NAME)
    yield OnHost(NAME)
    host.remove(STATE, NAME)


@pytest.fixture(scope="module")
def driven(blank: OnHost) -> OnHost:
    """The same with a driver that has always been there."""
    for source, target, mode in rootfs.DRIVEN:
        text = (STANDINS / source).read_text()
        blank.shell(
            f"mkdir -p $(dirname /{target})\ncat >/{target} <<'END-OF-FILE'\n{text}END-OF-FILE\nchmod {mode} /{target}"
        )
    return blank


def put(there: OnHost, *states: str) -> None:
    """Lets cards and kernel be in these states, and none else."""
    text = json.dumps({"states": states, "cards": [{}, {}]})
    there.shell(
        f"journalctl --quiet --rotate; journalctl --quiet --vacuum-time=1s\n"
        f"echo '{text}' >/etc/rehearsal/cards.json\nsystemctl restart rehearsal-cards\njournalctl --sync"
    )


def ask(workplace: Workplace, changes: dict[str, Any]) -> tuple[Ended, Rows]:
    """One run that answers in JSON."""
    ended = workplace.run(workplace.inventory(NAME, changes), DEPLOY, "--data", "json=true")
    lines = [line for line in ended.output.splitlines() if line.startswith('{"host": ')]
    assert len(lines) == 1, ended.output
    answer = json.loads(lines[0])
    assert answer["fit"] is (ended.status == 0), ended.output
    return ended, {row["name"]: row for row in answer["checks"]}


def sentence(row: dict[str, Any]) -> str:
    return f"{row['found']}; {row['needed']} is needed: {row['advice']}"


def test_a_new_host_passes_because_install_brings_what_is_missing(blank: OnHost, workplace: Workplace) -> None:
    ended, rows = ask(workplace, COMES)
    assert ended.status == 0, ended.output
    assert rows["cards"]["found"] == "2: NVIDIA RTX 4090 D (10de:2685)"
    assert "install brings branch 580" in rows["driver"]["found"]
    assert ended.commands == 1


def test_the_same_host_is_refused_when_nobody_brings_the_driver(blank: OnHost, workplace: Workplace) -> None:
    with nothing_changes(NAME):
        refused(workplace.install(NAME, THERE), "no driver runs; driver 580.65.06 or newer (CUDA 13.0) is needed")


def test_a_healthy_host_has_a_table_without_a_fail(driven: OnHost, workplace: Workplace) -> None:
    put(driven)
    with nothing_changes(NAME):
        ended = workplace.run(workplace.inventory(NAME, THERE), DEPLOY)
    assert ended.status == 0, ended.output
    assert f"Doctor of {NAME}: " in ended.output
    assert " 0 FAIL\n" in ended.output
    assert "cards 0 1: memory" in ended.output
    assert ended.seconds < MOST_SECONDS


@pytest.mark.parametrize("name", STATES)
def test_each_state_has_its_row(driven: OnHost, workplace: Workplace, name: str) -> None:
    state = STATES[name]
    put(driven, name)
    ended, rows = ask(workplace, THERE)
    assert rows[state.row]["level"] == state.level, ended.output
    assert state.words in sentence(rows[state.row])
    assert (ended.status != 0) is (state.level == "fail")


def test_what_fails_refuses_install_before_anything_is_touched(driven: OnHost, workplace: Workplace) -> None:
    put(driven, "foreign memory", "one card")
    sentences = [STATES[name].words for name in ("foreign memory", "one card")]
    with nothing_changes(NAME):
        refused(workplace.install(NAME, THERE), *sentences, "nothing was changed")


def test_without_a_name_server_the_cause_stands_beside_its_effects(driven: OnHost, workplace: Workplace) -> None:
    put(driven)
    changes = {**THERE, "runtime": {"image_sources": [{"kind": "mirror", "prefix": "mirror.example"}]}}
    before = driven.shell("cat /etc/resolv.conf")
    driven.shell("echo nameserver 127.0.0.1 >/etc/resolv.conf")
    try:
        ended, rows = ask(workplace, changes)
    finally:
        driven.shell(f"printf %s '{before}' >/etc/resolv.conf")
    assert (rows["DNS"]["level"], rows["images"]["level"]) == ("fail", "fail"), ended.output
    assert "no name could be looked up (name servers: 127.0.0.1)" in rows["DNS"]["found"]


def test_a_silent_mirror_is_given_up_in_time(driven: OnHost, workplace: Workplace) -> None:
    put(driven)
    mirror = {"kind": "mirror", "prefix": f"127.0.0.1:{SILENT_PORT}", "insecure": True}
    changes = {**THERE, "runtime": {"image_sources": [mirror]}, "doctor": {"network_timeout_seconds": 1}}
    listen = f"import socket, time; s = socket.create_server(('127.0.0.1', {SILENT_PORT})); time.sleep(600)"
    driven.shell(f'systemd-run --quiet --collect --unit=silent python3 -c "{listen}"')
    time.sleep(1)
    try:
        ended, rows = ask(workplace, changes)
    finally:
        driven.shell("systemctl stop silent")
    assert "does not answer (silent)" in rows["source of images"]["found"]
    assert rows["images"]["found"].startswith("no source has the image ")
    assert ended.seconds < MOST_SECONDS


def test_a_folder_or_store_that_is_not_there_is_named(driven: OnHost, workplace: Workplace) -> None:
    put(driven)
    gone = {"additional_image_stores": ["/mnt/no-images"], "image_sources": [{"kind": "oci-layout", "path": "/mnt/no"}]}
    ended, rows = ask(workplace, {**THERE, "runtime": gone})
    assert "there is no folder /mnt/no-images" in rows["image stores"]["found"]
    assert rows["source of images"]["found"] == "there is no /mnt/no on this host"
    assert ended.status != 0


def test_another_container_runtime_is_warned_of(driven: OnHost, workplace: Workplace) -> None:
    """A program of that name is all that the check looks for."""
    put(driven)
    driven.shell("cp /usr/bin/sleep /root/dockerd\nsystemd-run --quiet --collect --unit=docker /root/dockerd 600")
    try:
        _, rows = ask(workplace, THERE)
    finally:
        driven.shell("systemctl stop docker\nrm /root/dockerd")
    assert (rows["other container runtimes"]["level"], rows["other container runtimes"]["found"]) == ("warn", "dockerd")


def test_only_true_and_false_choose_between_json_and_table(driven: OnHost, workplace: Workplace) -> None:
    ended = workplace.run(workplace.inventory(NAME, THERE), DEPLOY, "--data", "json=yes-please")
    refused(ended, "--data json=... is neither true nor false", "nothing was changed")
