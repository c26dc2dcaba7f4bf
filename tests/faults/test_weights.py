"""The weights step on a real host, from a hub that stands in on this machine's end of the host's network."""

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE, hosts
from tests.faults.conftest import made_anew
from tests.faults.deploying import Ended, Running, Workplace
from tests.faults.onhost import OnHost
from tests.faults.refusals import refused
from tests.unit.hub import REPOSITORY, REVISION, Fault, Hub, hub, manifest_files, model, safetensors

WEIGHTS = "tests/faults/deploys/weights.py"
FOLDER = "/srv/weights"
BIG = "model-00001-of-00002.safetensors"
OTHER = "d" * 40


@dataclass
class Story:
    """A host without weights, and a hub that has a model for it."""

    there: OnHost
    hub: Hub
    workplace: Workplace

    def inventory(self, revision: str = REVISION, **weights: Any) -> str:
        data = dict(hosts(STATE))[self.there.name]
        manifest = {
            "repository": REPOSITORY,
            "revision": revision,
            "files": manifest_files(self.hub.files),
            "weight_bytes": 1000,
            "config": {"model_type": "gpt_oss"},
        }
        release = {**data["releases"]["a"], "model": {"name": "gpt-oss-20b", "manifest": manifest}}
        sources = [{"kind": "folder", "path": "/nowhere"}, {"kind": "huggingface", "endpoint": self.hub.address}]
        changes = {
            "storage": None,
            "releases": {"a": release},
            "weights": {"directory": FOLDER, "sources": sources, "stall_timeout_seconds": 20, **weights},
        }
        return self.workplace.inventory(self.there.name, changes)

    def run(self, revision: str = REVISION, **weights: Any) -> Ended:
        return self.workplace.run(self.inventory(revision, **weights), WEIGHTS)

    def paused(self, at: int) -> Running:
        """A run in the middle of its download: the hub has sent so many bytes, and the host has written them."""
        self.hub.pause_at = at
        running = self.workplace.start(self.inventory(), WEIGHTS)
        assert self.hub.paused.wait(60)
        self.there.shell("sleep 0.5")
        return running

    def go_on(self) -> None:
        self.hub.pause_at = None
        self.hub.go_on.set()


@pytest.fixture(scope="module")
def empty(spare: str) -> str:
    """The spare host as nobody has used it: tests before these may have installed and mounted there."""
    return made_anew(spare)


@pytest.fixture
def story(empty: str, workplace: Workplace) -> Iterator[Story]:
    there = OnHost(empty)
    there.shell(f"rm -rf {FOLDER} /etc/containers/systemd/test.container")
    network = ipaddress.ip_network(host.load(STATE, empty).network)
    files = {**model(1000), BIG: safetensors(5_000_000)}
    with hub(files, bind=str(network[1])) as one:
        yield Story(there, one, workplace)
    there.shell(f"rm -rf {FOLDER} /etc/containers/systemd/test.container")


PUBLISHED = f"published 7 files of model revision {REVISION[:12]}"


def is_whole(story: Story) -> None:
    """Every file has its hash, as the host's own sha256sum sees it, and a second run changes nothing."""
    lines = [f"{file['sha256']}  {name}" for name, file in manifest_files(story.hub.files).items()]
    story.there.shell(
        "cd {}\nsha256sum --check --quiet <<'END'\n{}\nEND".format(f"{FOLDER}/{REVISION}", "\n".join(lines))
    )
    sent = story.hub.sent
    second = story.run()
    assert (second.status, second.changed, second.notes) == (0, [], []), second.output
    assert story.hub.sent == sent


def test_a_model_comes_from_the_hub_and_a_second_run_changes_nothing(story: Story) -> None:
    first = story.run()
    assert (first.status, first.notes) == (0, [PUBLISHED]), first.output
    assert f"7 of 7 files from {story.hub.address}" in first.output
    is_whole(story)
    story.there.shell(f"touch {FOLDER}/{REVISION}/{BIG}")
    assert story.run().notes == [f"recorded 1 unchanged files of model revision {REVISION[:12]}"]
    story.there.shell(f"echo >>{FOLDER}/{REVISION}/config.json")
    assert story.run().notes == [f"repaired 1 files of model revision {REVISION[:12]}"]
    is_whole(story)


def test_a_download_killed_on_the_host_goes_on_where_it_stopped(story: Story) -> None:
    running = story.paused(3_000_000)
    pid = json.loads(story.there.shell(f"cat {FOLDER}/.lock"))["pid"]
    story.there.shell(f"kill -9 {pid}")
    story.go_on()
    assert running.wait().status != 0
    again = story.run()
    assert (again.status, again.notes) == (0, [PUBLISHED]), again.output
    assert "are here already" in again.output
    assert story.hub.ranges(BIG)[-1] not in (None, "bytes=0-")
    assert story.hub.sent < 1.1 * len(story.hub.files[BIG])
    is_whole(story)


def test_a_download_goes_on_without_its_operator_and_the_next_run_waits_for_it(story: Story) -> None:
    running = story.paused(3_000_000)
    running.kill()
    story.go_on()
    again = story.run()
    assert again.status == 0, again.output
    is_whole(story)
    assert story.hub.sent < 1.1 * len(story.hub.files[BIG])


def test_wrong_bytes_are_refused_twice_and_nothing_is_published(story: Story) -> None:
    story.hub.faults[BIG] = Fault(data=bytes(len(story.hub.files[BIG])))
    for _ in range(2):
        refused(story.run(), f"{BIG}: its SHA-256 is", "nothing was published", f"{FOLDER}/quarantine/")
        assert story.there.shell(f"ls {FOLDER} {FOLDER}/quarantine | grep -c safetensors").strip() == "1"
        assert OnHost(story.there.name).shell(f"[ -e {FOLDER}/{REVISION} ] || echo none").strip() == "none"
    story.hub.faults.clear()
    assert story.run().status == 0
    is_whole(story)


def test_what_no_source_has_is_refused_with_what_each_said(story: Story) -> None:
    story.hub.faults["config.json"] = Fault(status=404)
    refused(
        story.run(),
        "no source gave 1 of 7 files",
        f"folder /nowhere/{REVISION}: {BIG}: it is not there",
        f"huggingface {story.hub.address}: config.json: HTTP 404",
    )


def test_unused_models_go_only_with_consent_and_never_one_in_use(story: Story) -> None:
    """The model of a unit on the host stays: that is the escape hatch, whatever the inventory declares."""
    assert story.run().status == 0
    story.there.shell(f"cp -a {FOLDER}/{REVISION} {FOLDER}/{OTHER}; cp -a {FOLDER}/{REVISION} {FOLDER}/{'e' * 40}")
    unit = f"[Container]\nVolume={FOLDER}/{'e' * 40}:/model:ro\n"
    story.there.shell(f"mkdir -p /etc/containers/systemd\nprintf '{unit}' >/etc/containers/systemd/test.container")
    without = story.run()
    assert (without.status, without.changed) == (0, []), without.output
    assert f"are of models that no declared release uses ({OTHER}); weights.remove_unused" in without.output
    first = story.run(remove_unused=True)
    assert first.notes == [f"removed the unused model {OTHER} (4.8 MiB)"], first.output
    assert story.there.shell(f"ls {FOLDER}").split() == [REVISION, "e" * 40]
    second = story.run(remove_unused=True)
    assert (second.status, second.changed) == (0, []), second.output
