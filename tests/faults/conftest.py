"""Rehearsal hosts for the fault tests: gpu1 as `make rehearse` left it; gpu2 and knob1, which they make and remove."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tests.faults.deploying import Workplace
from tests.faults.onhost import OnHost
from tests.faults.sampling import SEED, split
from tests.faults.upgrading import Knobbed

SERVED = os.environ.get("TANDEM_SERVED_HOST", "gpu1")
SPARE = os.environ.get("TANDEM_SPARE_HOST", "gpu2")
KNOBBED = os.environ.get("TANDEM_KNOB_HOST", "knob1")


def pytest_report_header() -> str:
    return f"TANDEM_SEED={SEED}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:], left_out = split(config, items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def seed() -> int:
    return SEED


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "work")


@pytest.fixture(scope="session")
def served() -> str:
    """The name of the host that `make rehearse` installed."""
    if SERVED not in host.names(STATE):
        pytest.fail(f"there is no rehearsal host {SERVED}: run `make rehearse` first")
    host.boot(STATE, SERVED)
    return SERVED


def made_anew(name: str) -> str:
    """A host made from nothing, whatever was installed on one of that name."""
    host.remove(STATE, name)
    host.create(STATE, name, lambda _sentence: None)
    host.boot(STATE, name)
    return name


@pytest.fixture(scope="session")
def spare() -> Iterator[str]:
    """The name of a host for the tests alone, made before the first of them and removed after the last."""
    yield made_anew(SPARE)
    host.remove(STATE, SPARE)


@pytest.fixture(scope="session")
def fresh(spare: str) -> str:
    """The spare host as long as nothing has been installed on it. Tests that install use ``packaged``."""
    return spare


@pytest.fixture
def anew(spare: str) -> str:
    """The spare host made again from nothing, whatever was installed on it."""
    return made_anew(spare)


@pytest.fixture(scope="session")
def packaged(spare: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The spare host with packages, users and folders, as far as an install that failed there has them."""
    there = OnHost(spare)
    if there.shell("command -v skopeo || echo none").strip() == "none":
        work = Workplace(tmp_path_factory.mktemp("packaged"))
        ended = work.run(work.inventory(spare), "tests/faults/deploys/packages.py")
        assert ended.status == 0, ended.output
    return spare


@pytest.fixture(scope="session")
def knobbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knobbed]:
    """A host that serves a good release of engines with knobs. TANDEM_KEEP_KNOB_HOST=1 takes the one that is there,
    and leaves it.
    """
    kept = os.environ.get("TANDEM_KEEP_KNOB_HOST") == "1"
    if not (kept and KNOBBED in host.names(STATE)):
        made_anew(KNOBBED)
    host.boot(STATE, KNOBBED)
    found = Knobbed(KNOBBED, Workplace(tmp_path_factory.mktemp("knobbed") / "work"))
    ended = found.install()
    assert ended.status == 0, ended.output
    yield found
    if not kept:
        host.remove(STATE, KNOBBED)
