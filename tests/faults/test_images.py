"""Images come by digest from a real registry, a mirror and an OCI layout, and from nowhere when the digest is wrong."""

from typing import Any

import pytest

from tandem.config import ConfigError, load
from tests.faults.conftest import SPARE
from tests.faults.deploying import Ended, Workplace
from tests.faults.drifting import layers
from tests.faults.onhost import OnHost
from tests.faults.refusals import refused

REGISTRY = "127.0.0.1:5000"
FOLDER = "/root/tiny"
CONFIGURATION = f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: {FOLDER}/registry}}}}
http: {{addr: '{REGISTRY}'}}
"""
COPY = "skopeo copy --quiet --preserve-digests"


@pytest.fixture(scope="module")
def registry(packaged: str) -> OnHost:
    """Debian's docker-registry, on loopback of the spare host."""
    there = OnHost(packaged)
    there.shell(
        f"""
        systemctl mask --quiet docker-registry
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq install -y --no-install-recommends docker-registry >/dev/null 2>&1
        mkdir -p {FOLDER}
        cat >{FOLDER}/registry.yml <<'END'
{CONFIGURATION}END
        systemd-run --quiet --collect --unit=registry docker-registry serve {FOLDER}/registry.yml
        """
    )
    return there


@pytest.fixture
def image(registry: OnHost, request: pytest.FixtureRequest) -> dict[str, str]:
    """A tiny image of its own for each test, as an OCI layout on the host: "digest", "layer", "layout"."""
    layout = f"{FOLDER}/{request.node.name}"
    made: dict[str, str] = registry.program("tiny_image", {"folder": layout, "text": request.node.name})
    return {**made, "layout": layout}


def push(image: dict[str, str], name: str) -> None:
    """Puts it into the registry, once that answers."""
    wait = f"for try in $(seq 100); do (exec 3<>/dev/tcp/{REGISTRY.replace(':', '/')}) 2>&- && break; sleep 0.1; done"
    target = f"docker://{REGISTRY}/{name}:1"
    OnHost(SPARE).shell(f"bash -c '{wait}'\n{COPY} --dest-tls-verify=false oci:{image['layout']} {target}")


def bring(workplace: Workplace, name: str, **source: Any) -> Ended:
    """One run of the real operation for one image from one source."""
    inventory = workplace.inventory(SPARE, {"image": name, "image_sources": [source]})
    return workplace.run(inventory, "tests/faults/deploys/images.py")


def brought(workplace: Workplace, name: str, **source: Any) -> None:
    """The image comes at the first run and stays at the second; the store has it under its own name and digest."""
    first = bring(workplace, name, **source)
    assert (first.status, first.notes) == (0, [f"brought the image {name}"]), first.output
    second = bring(workplace, name, **source)
    assert (second.status, second.changed) == (0, []), second.output
    digests = OnHost(SPARE).shell(f"podman image inspect --format '{{{{.RepoDigests}}}}' {name}")
    assert digests.strip() == f"[{name}]"


def left_out(workplace: Workplace, name: str, *sentences: str, **source: Any) -> None:
    """Both runs refuse it with these words, and the store does not get it."""
    before = OnHost(SPARE).shell("podman images --all --quiet")
    for _ in range(2):
        refused(bring(workplace, name, **source), f"no source has the image {name}", *sentences)
    assert OnHost(SPARE).shell("podman images --all --quiet") == before


def test_an_image_comes_from_the_registry_in_its_name(image: dict[str, str], workplace: Workplace) -> None:
    push(image, "team/plain")
    brought(workplace, f"{REGISTRY}/team/plain@{image['digest']}", kind="registry", insecure=True)


def test_an_image_comes_from_a_mirror_below_a_path(image: dict[str, str], workplace: Workplace) -> None:
    push(image, "cache/deep/team/mirrored")
    name = f"registry.example/team/mirrored@{image['digest']}"
    brought(workplace, name, kind="mirror", prefix=f"{REGISTRY}/cache/deep", insecure=True)


def test_an_image_comes_from_an_oci_layout(image: dict[str, str], workplace: Workplace) -> None:
    push(image, "team/laid-out")
    copied = f"{FOLDER}/copied"
    source = f"docker://{REGISTRY}/team/laid-out@{image['digest']}"
    OnHost(SPARE).shell(f"{COPY} --src-tls-verify=false {source} oci:{copied}:vllm")
    brought(workplace, f"registry.example/team/laid-out@{image['digest']}", kind="oci-layout", path=copied)


def test_plain_http_needs_the_operators_word(image: dict[str, str], workplace: Workplace) -> None:
    push(image, "team/secure")
    name = f"{REGISTRY}/team/secure@{image['digest']}"
    left_out(workplace, name, "server gave HTTP response to HTTPS client", kind="registry", insecure=False)


def test_another_digest_than_the_registrys_is_refused(image: dict[str, str], workplace: Workplace) -> None:
    push(image, "team/other")
    name = f"{REGISTRY}/team/other@sha256:{'ab' * 32}"
    left_out(workplace, name, "manifest unknown", "check the digest", kind="registry", insecure=True)


def test_another_digest_than_the_layouts_is_refused(image: dict[str, str], workplace: Workplace) -> None:
    name = f"registry.example/team/other@sha256:{'ab' * 32}"
    left_out(workplace, name, f"index.json has {image['digest']}", kind="oci-layout", path=image["layout"])


def test_a_damaged_layout_is_refused(image: dict[str, str], workplace: Workplace) -> None:
    OnHost(SPARE).shell(f"printf x | dd of={image['layer']} bs=1 seek=30 conv=notrunc status=none")
    name = f"registry.example/team/damaged@{image['digest']}"
    left_out(workplace, name, kind="oci-layout", path=image["layout"])


def test_a_docker_archive_is_refused_because_it_loses_the_digest(image: dict[str, str], workplace: Workplace) -> None:
    archive = f"{FOLDER}/archive.tar"
    OnHost(SPARE).shell(f"skopeo copy --quiet oci:{image['layout']} docker-archive:{archive}:team/archived:1")
    name = f"registry.example/team/archived@{image['digest']}"
    left_out(workplace, name, "not an OCI layout folder; archives", kind="oci-layout", path=archive)
    data = {**layers(SPARE), "runtime": {"image_sources": [{"kind": "docker-archive", "path": archive}]}}
    with pytest.raises(ConfigError, match=r"runtime/image_sources/0.*docker-archive.*oci-layout"):
        load(data, SPARE)
