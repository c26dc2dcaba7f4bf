"""Deciding about the driver: what is due, what is refused, what stays as it is."""

import copy
from typing import Any

import pytest

from tandem.domain.gpu import Wanted, cdi_is_stale, decide, drift
from tandem.domain.gpu_packages import TABLE, choose, packages_of, to_hold

KERNEL = "6.12.117+deb13-amd64"
DRIVER = "580.159.04"
NAMES = (
    "nvidia-kernel-open-dkms",
    "nvidia-driver-cuda",
    "libcuda1",
    "libnvidia-ml1",
    "nvidia-persistenced",
    "nvidia-modprobe",
)
INSTALLED = dict.fromkeys(NAMES, f"{DRIVER}-1") | {
    "nvidia-container-toolkit-base": "1.20.1-1",
    "linux-image-amd64": "6.12.117-1",
    f"linux-image-{KERNEL}": "6.12.117-1",
}
HELD = [*NAMES, "nvidia-container-toolkit-base", "linux-image-amd64"]
WANTED = Wanted("nvidia", "580", "", toolkit=True, cuda_toolkit=False, allow_reboot=False, allow_outage=False)


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{**vars(WANTED), **changes})


def a_host(**changes: Any) -> dict[str, Any]:
    """A host whose driver is as wanted, with ``changes``."""
    made = {"driver": DRIVER, "cards": ["0", "1"], "sha256": "aa"}
    good = {
        "os": {"id": "debian", "version": "13"},
        "cards": ["0000:01:00.0", "0000:41:00.0"],
        "loaded": DRIVER,
        "nouveau": False,
        "kernel": KERNEL,
        "next_kernel": KERNEL,
        "headers": {KERNEL: True},
        "modules": {KERNEL: {"path": "nvidia.ko", "version": DRIVER, "signer": ""}},
        "packages": dict(INSTALLED),
        "held": list(HELD),
        "library": DRIVER,
        "secure_boot": False,
        "key_enrolled": False,
        "cdi_sha256": "aa",
        "cdi_made": made,
        "cdi_others": [],
    }
    return copy.deepcopy(good) | changes


def blank() -> dict[str, Any]:
    kernels = {name: version for name, version in INSTALLED.items() if name.startswith("linux")}
    return a_host(loaded="", modules={KERNEL: {}}, packages=kernels, held=[], library="", cdi_sha256="", cdi_made={})


def test_nothing_is_due_where_all_is_as_wanted() -> None:
    assert decide(WANTED, a_host(), serving=True, cards=(0, 1)).empty


def test_a_blank_host_gets_the_driver_of_the_branch_after_a_trial() -> None:
    work = decide(WANTED, blank(), serving=False, cards=(0, 1))
    assert (work.refusal, work.trial, work.load, work.change) == ("", True, True, None)
    assert set(work.packages) == {*NAMES, "nvidia-container-toolkit-base"}
    assert work.version == ""


def test_an_installed_driver_of_the_branch_stays_at_its_version() -> None:
    """Nobody named a version: whatever newer one the source has, P1 holds."""
    missing = {name: version for name, version in INSTALLED.items() if name != "nvidia-modprobe"}
    work = decide(WANTED, a_host(packages=missing), serving=True, cards=(0, 1))
    assert (work.refusal, work.change, work.trial, work.packages) == ("", None, False, ["nvidia-modprobe"])
    assert work.version == DRIVER


@pytest.mark.parametrize("change", [{"version": "580.167.01"}, {"branch": "595"}])
def test_a_changed_driver_on_a_host_that_serves_needs_consent(change: dict[str, str]) -> None:
    refused = decide(wanted(**change), a_host(), serving=True, cards=(0, 1))
    assert "gpu/allow_outage" in refused.refusal
    assert DRIVER in refused.refusal
    allowed = decide(wanted(**change, allow_outage=True), a_host(), serving=True, cards=(0, 1))
    assert (allowed.refusal, allowed.trial) == ("", True)
    assert allowed.change
    assert allowed.change[0] == DRIVER


def test_a_changed_driver_where_nothing_serves_needs_none() -> None:
    work = decide(wanted(version="580.167.01"), a_host(), serving=False, cards=(0, 1))
    assert (work.refusal, work.version) == ("", "580.167.01")


def test_a_new_kernel_without_module_is_built_for_without_an_outage() -> None:
    seen = a_host(next_kernel="6.12.120+deb13-amd64")
    seen["modules"]["6.12.120+deb13-amd64"] = {}
    work = decide(WANTED, seen, serving=True, cards=(0, 1))
    assert (work.refusal, work.trial, work.change, work.version) == ("", True, None, DRIVER)


def test_another_loaded_module_on_a_host_that_serves_is_not_rebooted_away() -> None:
    assert "reboot is due" in decide(WANTED, a_host(loaded="580.95.05"), serving=True, cards=(0, 1)).refusal
    assert decide(WANTED, a_host(loaded="580.95.05"), serving=False, cards=(0, 1)).load


def test_lost_holds_are_put_back_without_an_installation() -> None:
    work = decide(WANTED, a_host(held=HELD[1:]), serving=True, cards=(0, 1))
    assert (work.hold, work.install, work.load) == ([HELD[0]], False, False)


def test_secure_boot_without_an_enrolled_key_is_refused_before_anything_is_installed() -> None:
    assert "mokutil --import" in decide(WANTED, blank() | {"secure_boot": True}, False, (0, 1)).refusal
    assert not decide(WANTED, blank() | {"secure_boot": True, "key_enrolled": True}, False, (0, 1)).refusal


def test_no_card_on_the_bus_is_refused() -> None:
    assert "PCI bus" in decide(WANTED, blank() | {"cards": []}, False, (0, 1)).refusal


def test_a_driver_that_is_not_ours_is_never_touched() -> None:
    work = decide(wanted(source="none"), blank(), serving=False, cards=(0, 1))
    assert (work.packages, work.trial, work.load, work.hold) == (["nvidia-container-toolkit-base"], False, False, [])


def test_an_unknown_system_and_an_unknown_toolkit_are_named() -> None:
    assert "fedora 42" in decide(WANTED, a_host(os={"id": "fedora", "version": "42"}), False, (0,)).refusal
    assert "branch 999" in decide(wanted(branch="999", cuda_toolkit=True), blank(), False, (0,)).refusal


def test_the_cuda_toolkit_is_that_of_the_branch() -> None:
    assert "cuda-toolkit-13-0" in decide(wanted(cuda_toolkit=True), blank(), False, (0,)).packages


def test_a_stale_specification_is_made_again_and_a_missing_one_is_the_units_work() -> None:
    assert not cdi_is_stale(a_host(), (0, 1))
    assert not cdi_is_stale(a_host(cdi_made={}), (0, 1))
    assert cdi_is_stale(a_host(loaded="580.95.05"), (0, 1))
    assert cdi_is_stale(a_host(cdi_sha256="bb"), (0, 1))
    assert cdi_is_stale(a_host(), (0, 1, 2))


def test_a_second_specification_is_said() -> None:
    assert "/etc/cdi/x.yaml" in decide(WANTED, a_host(cdi_others=["/etc/cdi/x.yaml"]), True, (0, 1)).remarks[0]


def test_every_system_and_source_has_names_without_placeholders_left() -> None:
    for system, version, source in TABLE:
        names = packages_of((system, version), source, "580")
        assert names
        assert not any("{" in name for name in (*names.libraries, *names.beside, names.module, names.pinning))


def test_the_drift_guard_is_silent_where_all_fits_and_where_there_is_no_driver() -> None:
    assert drift(a_host(), managed=True) == []
    assert drift(blank(), managed=False) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"library": "580.167.01"}, "is 580.159.04 and the installed library is 580.167.01"),
        ({"loaded": ""}, "not loaded"),
        ({"next_kernel": "6.12.120+deb13-amd64"}, "the next boot takes kernel 6.12.120+deb13-amd64"),
        ({"held": []}, "libcuda1"),
        ({"cdi_made": {"missing": ["1"]}}, "card 1 was not there"),
    ],
)
def test_the_drift_guard_says_what_will_break(changes: dict[str, Any], said: str) -> None:
    (sentence,) = drift(a_host(**changes), managed=True)
    assert said in sentence


def test_a_driver_that_is_not_ours_need_not_be_held() -> None:
    assert drift(a_host(held=[]), managed=False) == []


@pytest.mark.parametrize(
    "name",
    ["linux-image-amd64", "linux-headers-cloud-amd64", "linux-image-generic-hwe-24.04", "linux-generic-hwe-24.04"],
)
def test_the_kernels_metapackage_is_held_whatever_its_flavour(name: str) -> None:
    assert to_hold([name]) == [name]


@pytest.mark.parametrize(
    "name",
    ["linux-image-6.12.117+deb13-amd64", "linux-headers-6.8.0-31-generic", "linux-libc-dev", "linux-base", "dkms"],
)
def test_what_never_moves_by_itself_is_not_held(name: str) -> None:
    assert to_hold([name]) == []


def test_apts_candidate_decides_where_no_version_is_named() -> None:
    known = ["595.84-1", "580.159.04-1", "580.159.03-1"]
    assert choose("m", known, "580.159.04-1", "580", "") == ("580.159.04-1", "")
    assert choose("m", known, "580.159.04-1", "580", "580.159.03") == ("580.159.03-1", "")


@pytest.mark.parametrize(
    ("known", "candidate", "exactly", "said"),
    [
        ([], "", "", "no apt source has m"),
        (["595.84-1"], "595.84-1", "", "m 595.84-1, which is not of branch 580"),
        (["580.159.04-1"], "580.159.04-1", "580.1", "no apt source has m 580.1, only 580.159.04-1"),
    ],
)
def test_a_version_that_there_is_not_or_of_another_branch_is_refused(
    known: list[str], candidate: str, exactly: str, said: str
) -> None:
    version, refusal = choose("m", known, candidate, "580", exactly)
    assert version == ""
    assert said in refusal
