"""Containers: which image, and what the kernel lets them do. The units' own scores see the launcher only."""

from tandem.domain.slots import UIDS
from tests.host.reading import Seen, directive

NOTHING = "0000000000000000"
USER = {"vllm": UIDS["tandem-engine"], "open-webui": UIDS["tandem-webui"]}


def test_each_container_runs_the_image_of_its_unit_by_digest(containers: Seen) -> None:
    assert containers["containers"]
    for name, one in containers["containers"].items():
        assert one["running"], name
        assert one["wanted_image"].partition("@")[2] == one["image_digest"], name


def test_no_process_in_a_container_has_any_right(containers: Seen) -> None:
    for name, one in containers["containers"].items():
        uid = USER[name.rsplit("-", 2 if name.startswith("vllm") else 1)[0]]
        assert one["processes"], name
        for process in one["processes"]:
            rights = {key: process[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
            assert set(rights.values()) == {NOTHING}, (name, process["Name"], rights)
            assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2"), (name, process["Name"])
            assert set(process["Uid"].split()) == set(process["Gid"].split()) == {str(uid)}, (name, process["Name"])


def test_the_only_thing_on_disk_that_a_container_can_write_is_the_webuis_data(containers: Seen) -> None:
    for name, one in containers["containers"].items():
        assert one["writable"] == (["/data"] if name.startswith("open-webui-") else []), name


def test_a_container_reaches_itself_and_not_the_network(containers: Seen) -> None:
    """The address tried is this host's own: it answers the host, so the attempt could succeed."""
    for name, one in containers["containers"].items():
        assert one["to_itself"] == "connected", name
        assert one["to_the_network"] in ("PermissionError", "TimeoutError"), (name, containers["target"])


def test_the_address_filter_is_systemds_and_covers_all(system: Seen, containers: Seen) -> None:
    for name in containers["containers"]:
        unit = system["units"][f"{name}.service"]
        assert set(unit["IPAddressDeny"].split()) == {"0.0.0.0/0", "::/0"}, name
        assert set(unit["IPAddressAllow"].split()) == {"127.0.0.0/8", "::1/128"}, name


def test_images_are_never_fetched_by_starting_a_container(containers: Seen) -> None:
    assert {directive(one["unit_file"], "Pull") for one in containers["containers"].values()} == {"never"}
