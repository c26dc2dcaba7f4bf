"""The public front door, asked from the host itself."""

from tandem.domain.slots import UIDS
from tests.host.reading import Seen, listen_ports

NET_BIND_SERVICE = f"{1 << 10:016x}"
CONFIG = "/etc/tandem/edge/current/nginx.conf"


def test_the_edge_serves_the_configuration_and_the_secrets_on_disk(system: Seen) -> None:
    served = system["served"]["tandem-edge"]
    assert served["config"] in system["nginx"][CONFIG]
    assert served["secrets"] == system["status"]["secrets_revisions"]["tandem-edge"]


def test_the_edge_may_bind_low_ports_and_nothing_else(system: Seen) -> None:
    process = system["processes"]["tandem-edge"]
    assert set(process["Uid"].split()) == {str(UIDS["tandem-edge"])}
    assert {process[key] for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NET_BIND_SERVICE}
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")


def test_the_edge_answers_on_ipv4_and_ipv6(system: Seen) -> None:
    seen = {(one["address"], one["port"]) for one in system["listeners"] if "tandem-edge.service" in one["units"]}
    ports = [port for tls in (True, False) for port in listen_ports(system["nginx"][CONFIG], tls=tls)]
    assert {(any_address, port) for any_address in ("0.0.0.0", "::") for port in ports} <= seen


def test_the_certificate_is_valid_for_a_while(serving: Seen) -> None:
    """That it belongs to its authority and its name was checked when the edge was asked."""
    assert serving["edge"]["names"]
    assert serving["edge"]["days_left"] > 14


def test_an_answer_streams_through_the_edge(serving: Seen) -> None:
    stream = serving["edge"]["stream"]
    assert (stream["status"], stream["done"]) == (200, True)
    assert stream["pieces"] > 1


def test_the_edge_lists_the_model(serving: Seen) -> None:
    assert serving["edge"]["models"] == serving["webui"]["models"]


def test_without_the_exact_key_the_api_is_closed(serving: Seen) -> None:
    status, body, challenge = serving["edge"]["without_key"]
    assert (status, body) == (401, ["error"])
    assert challenge.startswith("Bearer")
    assert serving["edge"]["shouted_key"] == 401


def test_routes_that_are_not_listed_do_not_exist(serving: Seen) -> None:
    assert set(serving["edge"]["closed"].values()) == {404}


def test_the_page_asks_for_the_password(serving: Seen) -> None:
    status, challenge = serving["edge"]["without_password"]
    assert status == 401
    assert challenge.startswith("Basic")


def test_plain_http_only_points_to_https(system: Seen, serving: Seen) -> None:
    status, location = serving["edge"]["redirect"]
    port = listen_ports(system["nginx"][CONFIG], tls=True)[0]
    assert (status, location) == (308, f"https://localhost{'' if port == 443 else f':{port}'}/some/page?x=1")
