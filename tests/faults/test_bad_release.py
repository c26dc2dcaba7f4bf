"""A release that can't serve: said with its reason, and nothing that serves is touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.deploying import Ended, Workplace
from tests.faults.drifting import invocations, layers
from tests.faults.fingerprint import differences, fingerprint, shown
from tests.faults.refusals import refused

ONE_CARD = {"engine": {"cards": [0], "ready_timeout_seconds": 600, "shutdown_timeout_seconds": 30}}
WRONG = "ab" * 32


@dataclass(frozen=True)
class Story:
    """A first install with an engine that can't start, then with the right one, then again, all without hands."""

    host: str
    broken: Ended
    corrected: Ended
    again: Ended


def changed(name: str, **changes: Any) -> dict[str, Any]:
    """The data of the host with another release ``a``, on one card to save time."""
    releases = layers(name)["releases"]
    return {**ONE_CARD, "releases": {**releases, "a": {**releases["a"], **changes}}}


@pytest.fixture(scope="module")
def story(packaged: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    workplace = Workplace(tmp_path_factory.mktemp("story") / "work")
    arguments = {**layers(packaged)["releases"]["a"]["arguments"], "scheduling-policy": "no-such-policy"}
    broken = workplace.install(packaged, changed(packaged, arguments=arguments))
    return Story(packaged, broken, *(workplace.install(packaged, ONE_CARD) for _ in range(2)))


def test_an_engine_that_never_gets_ready_is_said_with_its_last_log_lines(story: Story) -> None:
    refused(story.broken, "not ready after", "log lines of vllm-blue-0", "invalid choice: 'no-such-policy'")
    assert story.broken.operations()[-1].endswith("A real completion")


def test_the_corrected_release_installs_over_the_broken_one(story: Story) -> None:
    assert story.corrected.status == 0, story.corrected.output
    assert (story.again.status, story.again.changed) == (0, []), story.again.output


def stays_as_it_is(story: Story, workplace: Workplace, changes: Mapping[str, Any], *sentences: str) -> None:
    """Twice refused, and the host that serves is the same: no file, no unit, no process is another one."""
    for _ in range(2):
        before, ids = fingerprint(story.host), invocations(story.host)
        refused(workplace.install(story.host, changes), *sentences)
        lines = differences(before, fingerprint(story.host))
        assert not lines, shown(lines)
        assert invocations(story.host) == ids


def test_an_image_digest_that_does_not_match_is_refused_by_a_serving_host(story: Story, workplace: Workplace) -> None:
    image = layers(story.host)["releases"]["a"]["image"].partition("@")[0] + f"@sha256:{WRONG}"
    stays_as_it_is(
        story, workplace, changed(story.host, image=image), f"no source has the image {image}", "check the digest"
    )


def test_a_weights_file_with_a_wrong_checksum_is_refused_by_a_serving_host(story: Story, workplace: Workplace) -> None:
    model = layers(story.host)["releases"]["wrong"]["model"]
    manifest = model["manifest"]
    right = manifest["files"]["config.json"]
    files = {**manifest["files"], "config.json": {**right, "sha256": WRONG}}
    changes = changed(story.host, model={**model, "manifest": {**manifest, "files": files}})
    seen = right["sha256"]
    sentences = [f"config.json: its SHA-256 is {seen}", f"the release says {WRONG}", "nothing was published"]
    refused(workplace.install(story.host, changes), *sentences)
    # The copy in quarantine is new at the first run only.
    stays_as_it_is(story, workplace, changes, *sentences)


def test_another_name_for_the_served_model_is_refused_by_a_serving_host(story: Story, workplace: Workplace) -> None:
    releases = layers(story.host)["releases"]
    renamed = {name: {**one, "model": {**one["model"], "name": "another"}} for name, one in releases.items()}
    sentences = ("serves the model as", "calls it 'another'", "nothing was changed", "the same model/name")
    stays_as_it_is(story, workplace, {**ONE_CARD, "releases": renamed}, *sentences)
