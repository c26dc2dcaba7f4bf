"""The two routers on loopback."""

from tandem.domain import slots
from tests.host.reading import Seen

ROUTERS = ("tandem-router-engine", "tandem-router-webui")
PORTS = {
    "tandem-router-engine": {slots.ROUTER_ENGINE_API_PORT, slots.ROUTER_ENGINE_WEBUI_PORT},
    "tandem-router-webui": {slots.ROUTER_WEBUI_PORT},
}


def test_a_router_serves_the_configuration_on_disk(system: Seen) -> None:
    for unit in ROUTERS:
        folder = unit.removeprefix("tandem-")
        assert system["served"][unit]["config"] in system["nginx"][f"/etc/tandem/{folder}/current/nginx.conf"]


def test_a_router_listens_on_loopback_ipv4_alone(system: Seen) -> None:
    for unit in ROUTERS:
        seen = {(one["address"], one["port"]) for one in system["listeners"] if f"{unit}.service" in one["units"]}
        assert seen == {("127.0.0.1", port) for port in PORTS[unit] | {slots.STATUS_PORT[unit]}}


def test_the_split_is_what_the_record_says(system: Seen) -> None:
    assert system["status"]["split_differs"] == {}
    assert {system["tree"][f"/var/lib/tandem/split/{name}.conf"]["mode"] for name in ("engine", "webui")} == {"0644"}


def test_a_router_has_no_rights_at_all(system: Seen) -> None:
    for unit in ROUTERS:
        process = system["processes"][unit]
        assert set(process["Uid"].split()) == {str(slots.UIDS["tandem-router"])}
        assert {process[key] for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0000000000000000"}
        assert process["NoNewPrivs"] == "1"
        assert process["Seccomp"] == "2"


def test_exposure_is_low(system: Seen) -> None:
    scores = {unit: system["exposures"][f"{unit}.service"] for unit in (*ROUTERS, "tandem-edge")}
    assert all(score <= 3.0 for score in scores.values()), scores
